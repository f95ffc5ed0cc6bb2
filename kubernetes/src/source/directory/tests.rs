#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::object::{Kind, Object};

const SOON: Duration = Duration::from_secs(20);

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ ports: [{{ port: {port} }}] }}\n")
}

fn told(changes: Vec<Change>) -> Vec<String> {
    let told = changes.into_iter().flat_map(|change| match change {
        Change::Apply(object) => vec![format!("apply {}", name_of(&object))],
        Change::Delete(id) => vec![format!("delete {}", id.name)],
        Change::Reset(_, objects) => objects
            .iter()
            .map(|object| format!("first {}", name_of(object)))
            .collect(),
    });
    told.collect()
}

fn name_of(object: &Object) -> String {
    let Object::Service(service) = object else {
        return object.id().name;
    };
    format!(
        "{} {}",
        object.id().name,
        service.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port
    )
}

struct Watched {
    directory: TempDir,
    source: Source,
}

impl Watched {
    /// Opens a directory with these files.
    async fn with(files: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let source = open(directory.path()).unwrap();
        let mut watched = Self { directory, source };
        assert_eq!(
            watched.next_raw().await.len(),
            Kind::ALL.len(),
            "the first batch resets every kind"
        );
        watched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn next_raw(&mut self) -> Vec<Change> {
        timeout(SOON, self.source.next())
            .await
            .expect("a batch in time")
            .expect("a source that goes on")
    }

    async fn next(&mut self) -> Vec<String> {
        told(self.next_raw().await)
    }

    /// Changes until the last one is this; they may come in several batches.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut all = Vec::new();
        while all.last().map(String::as_str) != Some(last) {
            all.extend(self.next().await);
        }
        all
    }

    async fn problems(&mut self, expected: usize) -> Vec<Problem> {
        let mut problems = self.source.problems();
        let problems = timeout(SOON, problems.wait_for(|problems| problems.len() == expected));
        problems.await.expect("the problems in time").unwrap().clone()
    }
}

#[tokio::test]
async fn the_first_batch_is_everything() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("deep/er")).unwrap();
    fs::create_dir(directory.path().join(".git")).unwrap();
    for (name, text) in [
        ("b.yaml", service("b", 1)),
        ("deep/er/c.yml", service("c", 1)),
        (
            "a.json",
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":1}]}}"#.into(),
        ),
        (".hidden.yaml", "nonsense".into()),
        (".git/x.yaml", "nonsense".into()),
        ("b.yaml~", "nonsense".into()),
        ("#b.yaml#", "nonsense".into()),
        ("README.md", "nonsense".into()),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut source = open(directory.path()).unwrap();
    assert_eq!(
        told(source.next().await.unwrap()),
        ["first a 1", "first b 1", "first c 1"]
    );
}

#[tokio::test]
async fn the_first_batch_can_be_had_in_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let count = 2 * FILES_PER_PIECE + 1;
    for number in 0..count {
        fs::write(
            directory.path().join(format!("{number}.yaml")),
            service(&format!("s{number}"), 1),
        )
        .unwrap();
    }
    let mut source = open(directory.path()).unwrap();
    let mut sizes = Vec::new();
    while let Some(piece) = timeout(SOON, source.initial()).await.unwrap() {
        sizes.push(piece.len());
    }
    assert_eq!(sizes, [Kind::ALL.len(), FILES_PER_PIECE, FILES_PER_PIECE, 1]);
    fs::write(directory.path().join("0.yaml"), service("s0", 2)).unwrap();
    assert_eq!(
        told(timeout(SOON, source.next()).await.unwrap().unwrap()),
        ["apply s0 2"]
    );

    let whole = open(directory.path()).unwrap().next().await.unwrap();
    assert_eq!((whole.len(), told(whole).len()), (Kind::ALL.len(), count));
}

#[tokio::test]
async fn invalid_manifests_are_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("a.yaml"),
        format!("{}---\nkind: Service\n", service("a", 1)),
    )
    .unwrap();
    let error = open(directory.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("a.yaml: document 2: (from line 5) is not a manifest: it needs an apiVersion and a kind"),
        "{error}"
    );
    let missing = open(&directory.path().join("none")).unwrap_err();
    assert!(matches!(missing, DirectoryError::Unreadable { .. }), "{missing}");
}

#[tokio::test]
async fn a_written_file_is_seen() {
    let mut watched = Watched::with(&[("a.yaml", service("a", 1))]).await;
    fs::write(watched.path("a.yaml"), service("a", 2)).unwrap();
    assert_eq!(watched.next().await, ["apply a 2"]);
    fs::write(watched.path("b.yaml"), service("b", 1)).unwrap();
    assert_eq!(watched.next().await, ["apply b 1"]);
}

#[tokio::test]
async fn a_file_is_read_when_its_writer_has_closed_it() {
    let mut watched = Watched::with(&[]).await;
    let mut half = fs::File::create(watched.path("a.yaml")).unwrap();
    half.write_all(service("a", 1).as_bytes()).unwrap();
    fs::write(watched.path("b.yaml"), service("b", 1)).unwrap();
    assert_eq!(watched.next().await, ["apply b 1"]);
    half.write_all(format!("---\n{}", service("c", 1)).as_bytes()).unwrap();
    drop(half);
    assert_eq!(watched.next().await, ["apply a 1", "apply c 1"]);
}

#[tokio::test]
async fn a_file_renamed_into_place_is_seen() {
    let mut watched = Watched::with(&[("a.yaml", service("a", 1))]).await;
    fs::write(watched.path(".a.yaml.new"), service("a", 2)).unwrap();
    fs::rename(watched.path(".a.yaml.new"), watched.path("a.yaml")).unwrap();
    assert_eq!(watched.next().await, ["apply a 2"]);
}

#[tokio::test]
async fn an_object_that_moves_to_another_file_is_never_missing() {
    let mut watched = Watched::with(&[("a.yaml", service("a", 1))]).await;
    fs::rename(watched.path("a.yaml"), watched.path("z.yaml")).unwrap();
    assert_eq!(watched.next().await, ["apply a 1"]);
    fs::rename(watched.path("z.yaml"), watched.path("a.yaml")).unwrap();
    assert_eq!(watched.next().await, ["apply a 1"]);
    fs::remove_file(watched.path("a.yaml")).unwrap();
    assert_eq!(watched.next().await, ["delete a"]);
}

#[tokio::test]
async fn a_broken_file_keeps_its_objects_and_heals() {
    let mut watched = Watched::with(&[("a.yaml", service("a", 1))]).await;
    fs::write(watched.path("a.yaml"), "apiVersion: v1\nkind: [").unwrap();
    let problems = watched.problems(1).await;
    assert!(problems[0].place.ends_with("a.yaml: document 1"), "{problems:?}");
    fs::write(watched.path("a.yaml"), service("a", 2)).unwrap();
    assert_eq!(watched.next().await, ["apply a 2"]);
    watched.problems(0).await;
}

#[tokio::test]
async fn an_object_in_two_files_is_a_problem_and_the_first_file_counts() {
    let mut watched = Watched::with(&[("b.yaml", service("a", 2)), ("c.yaml", service("a", 3))]).await;
    watched.problems(1).await;
    fs::remove_file(watched.path("b.yaml")).unwrap();
    assert_eq!(watched.next().await, ["apply a 3"]);
    watched.problems(0).await;
}

#[tokio::test]
async fn directories_come_go_and_move_with_their_files() {
    let mut watched = Watched::with(&[]).await;
    fs::create_dir_all(watched.path("d/e")).unwrap();
    fs::write(watched.path("d/e/a.yaml"), service("a", 1)).unwrap();
    assert_eq!(watched.until("apply a 1").await, ["apply a 1"]);
    fs::write(watched.path("d/e/a.yaml"), service("a", 2)).unwrap();
    assert_eq!(watched.until("apply a 2").await, ["apply a 2"]);

    fs::rename(watched.path("d"), watched.path("f")).unwrap();
    assert_eq!(watched.until("apply a 2").await, ["apply a 2"]);
    fs::write(watched.path("f/e/a.yaml"), service("a", 3)).unwrap();
    assert_eq!(watched.until("apply a 3").await, ["apply a 3"]);

    fs::remove_dir_all(watched.path("f")).unwrap();
    assert_eq!(watched.until("delete a").await, ["delete a"]);
    fs::create_dir(watched.path("f")).unwrap();
    fs::write(watched.path("f/a.yaml"), service("a", 4)).unwrap();
    assert_eq!(watched.until("apply a 4").await, ["apply a 4"]);
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_when_it_is_swapped() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let version = |name: &str, port: u16| {
        fs::create_dir_all(path(name).join("sub")).unwrap();
        fs::write(path(name).join("a.yaml"), service("a", port)).unwrap();
        fs::write(path(name).join("sub/b.yaml"), service("b", port)).unwrap();
    };
    version("..1", 1);
    symlink("..1", path("..data")).unwrap();
    symlink("..data/a.yaml", path("a.yaml")).unwrap();
    symlink("..data/sub", path("sub")).unwrap();
    let mut source = open(directory.path()).unwrap();
    assert_eq!(told(source.next().await.unwrap()), ["first a 1", "first b 1"]);

    for (port, old, new) in [(2, "..1", "..2"), (3, "..2", "..3")] {
        version(new, port);
        symlink(new, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        fs::remove_dir_all(path(old)).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(told(
                timeout(SOON, source.next()).await.expect("a batch in time").unwrap(),
            ));
        }
        seen.sort();
        assert_eq!(seen, [format!("apply a {port}"), format!("apply b {port}")]);
    }
}

#[tokio::test]
async fn a_link_to_a_parent_directory_is_not_followed_forever() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), service("a", 1)).unwrap();
    symlink(".", directory.path().join("loop")).unwrap();
    let mut source = open(directory.path()).unwrap();
    assert_eq!(told(source.next().await.unwrap()), ["first a 1"]);
    assert_eq!(*source.problems().borrow(), []);
}

#[tokio::test]
async fn fault_a_directory_is_read_once_however_many_links_lead_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, other) in [("a", "../b"), ("b", "../a")] {
        fs::create_dir(path(name)).unwrap();
        symlink(other, path(name).join("l0")).unwrap();
        symlink(other, path(name).join("l1")).unwrap();
        fs::write(path(name).join("x.yaml"), service(name, 1)).unwrap();
    }
    for level in 0..30 {
        fs::create_dir(path(&format!("c{level}"))).unwrap();
        for link in ["l0", "l1"] {
            symlink(format!("../c{}", level + 1), path(&format!("c{level}")).join(link)).unwrap();
        }
    }
    fs::create_dir(path("c30")).unwrap();
    fs::write(path("c30/x.yaml"), service("c", 1)).unwrap();
    let mut source = open(directory.path()).unwrap();
    let mut first = told(source.next().await.unwrap());
    first.sort();
    assert_eq!(first, ["first a 1", "first b 1", "first c 1"]);
    assert_eq!(*source.problems().borrow(), []);
}

#[tokio::test]
async fn a_directory_is_read_by_another_link_when_the_first_is_deleted() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("x.yaml"), service("a", 1)).unwrap();
    let mut watched = Watched::with(&[]).await;
    symlink(elsewhere.path(), watched.path("l0")).unwrap();
    assert_eq!(watched.until("apply a 1").await, ["apply a 1"]);
    symlink(elsewhere.path(), watched.path("l1")).unwrap();
    fs::write(watched.path("b.yaml"), service("b", 1)).unwrap();
    watched.until("apply b 1").await;
    fs::remove_file(watched.path("l0")).unwrap();
    assert_eq!(watched.until("apply a 1").await, ["apply a 1"]);
    fs::write(elsewhere.path().join("x.yaml"), service("a", 2)).unwrap();
    assert_eq!(watched.until("apply a 2").await, ["apply a 2"]);
}

#[tokio::test]
async fn lost_signals_make_everything_be_read_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), service("a", 1)).unwrap();
    let mut tree = Tree::new(directory.path(), std::sync::Weak::new()).unwrap();
    let files = tree.list().unwrap();
    assert_eq!(told(tree.read(&files)), ["apply a 1"]);
    fs::write(directory.path().join("a.yaml"), service("a", 2)).unwrap();
    fs::write(directory.path().join("b.yaml"), service("b", 1)).unwrap();
    let lost = || Touched {
        lost: true,
        ..Touched::default()
    };
    assert_eq!(told(tree.look_again(lost())), ["apply a 2", "apply b 1"]);
    fs::remove_file(directory.path().join("a.yaml")).unwrap();
    assert_eq!(told(tree.look_again(lost())), ["delete a"]);
}

#[tokio::test]
async fn fault_the_source_goes_on_when_the_directory_is_gone() {
    let mut watched = Watched::with(&[]).await;
    fs::remove_dir(watched.directory.path()).unwrap();
    let problems = watched.problems(1).await;
    assert!(problems[0].reason.starts_with("the directory was deleted"));
    let ended = timeout(Duration::from_millis(200), watched.source.next()).await;
    assert!(ended.is_err(), "its end would be the end of the program");

    let mut problems = watched.source.problems();
    drop(watched.source);
    let ended = timeout(SOON, async { while problems.changed().await.is_ok() {} }).await;
    ended.expect("the thread ends with the source");
}

#[test]
fn fault_files_that_go_with_the_directory_stay_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("d");
    let file = root.join("a.yaml");
    fs::create_dir(&root).unwrap();
    fs::write(&file, service("a", 1)).unwrap();
    let mut tree = Tree::new(&root, std::sync::Weak::new()).unwrap();
    let files = tree.list().unwrap();
    assert_eq!(told(tree.read(&files)), ["apply a 1"]);
    fs::remove_dir_all(&root).unwrap();
    let touched = Touched {
        paths: [(file, false), (root, false)].into(),
        lost: false,
    };
    assert_eq!(told(tree.look_again(touched)), [""; 0]);
    assert!(tree.is_gone());
}

#[tokio::test]
async fn a_dropped_source_ends_its_thread() {
    let Watched {
        source,
        directory: _directory,
    } = Watched::with(&[]).await;
    let mut problems = source.problems();
    drop(source);
    let ended = timeout(SOON, async { while problems.changed().await.is_ok() {} }).await;
    ended.expect("the thread has let go of its end of the channel");
}

/// What can happen to a directory; names are few, so that things happen to the same ones.
#[derive(Debug, Clone)]
enum Happening {
    Write(&'static str, u16),
    Replace(&'static str, u16),
    Break(&'static str),
    Remove(&'static str),
    Move(&'static str, &'static str),
    MakeDirectory(&'static str),
}

impl Happening {
    /// Does it; what is not possible as things stand does not happen.
    fn happen(&self, root: &Path) {
        let _ = match self {
            Self::Write(path, port) => fs::write(root.join(path), service(name_in(*port), *port)),
            Self::Replace(path, port) => {
                let new = root.join(".new");
                fs::write(&new, service(name_in(*port), *port)).and_then(|()| fs::rename(&new, root.join(path)))
            }
            Self::Break(path) => fs::write(root.join(path), "kind: ["),
            Self::Remove(path) => fs::remove_file(root.join(path)).or_else(|_| fs::remove_dir_all(root.join(path))),
            Self::Move(from, to) => fs::rename(root.join(from), root.join(to)),
            Self::MakeDirectory(path) => fs::create_dir(root.join(path)),
        };
    }
}

/// Files hold one of three objects, so that several files hold the same.
fn name_in(port: u16) -> &'static str {
    ["a", "b", "c"][usize::from(port) % 3]
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let file = || prop::sample::select(vec!["1.yaml", "2.yaml", "d/1.yaml", "d/e/1.yaml", "f/1.yaml"]);
    let directory = || prop::sample::select(vec!["d", "d/e", "f", "g"]);
    prop_oneof![
        3 => (file(), 1..9_u16).prop_map(|(path, port)| Happening::Write(path, port)),
        3 => (file(), 1..9_u16).prop_map(|(path, port)| Happening::Replace(path, port)),
        1 => file().prop_map(Happening::Break),
        2 => file().prop_map(Happening::Remove),
        2 => (file(), file()).prop_map(|(from, to)| Happening::Move(from, to)),
        2 => directory().prop_map(Happening::MakeDirectory),
        1 => directory().prop_map(Happening::Remove),
        2 => (directory(), directory()).prop_map(|(from, to)| Happening::Move(from, to)),
    ]
}

fn take_in(state: &mut BTreeMap<String, u16>, changes: Vec<Change>) {
    let port = |object: &Object| name_of(object).rsplit(' ').next().unwrap().parse::<u16>().unwrap();
    for change in changes {
        match change {
            Change::Apply(object) => drop(state.insert(object.id().name, port(&object))),
            Change::Delete(id) => assert!(state.remove(&id.name).is_some(), "{id} was not there"),
            Change::Reset(_, objects) => state.extend(objects.iter().map(|object| (object.id().name, port(object)))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Without broken files the outcome is what a fresh reader finds; with them, everything a fresh reader could use is there.
    #[test]
    fn whatever_happens_the_source_ends_where_a_fresh_one_begins(happenings in prop::collection::vec(any_happening(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut watched = Watched::with(&[]).await;
            for happening in &happenings {
                happening.happen(watched.directory.path());
            }
            fs::write(watched.path("zz.yaml"), service("last", 99)).unwrap();
            let mut state = BTreeMap::new();
            while !state.contains_key("last") {
                take_in(&mut state, watched.next_raw().await);
            }
            let mut fresh = Tree::new(watched.directory.path(), std::sync::Weak::new()).unwrap();
            let mut expected = BTreeMap::new();
            let files = fresh.list().unwrap();
            take_in(&mut expected, fresh.read(&files));
            let broken = first_failure(&files).is_some();
            let same = if broken { expected.keys().all(|name| state.contains_key(name)) } else { state == expected };
            assert!(same, "{state:?} is not {expected:?}");
        });
    }
}
