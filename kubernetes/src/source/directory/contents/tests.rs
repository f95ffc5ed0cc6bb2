#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::object::Object;
use crate::source::directory::reading::{Failure, read};

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: shop }}\nspec: {{ ports: [{{ port: {port} }}] }}\n"
    )
}

fn put(contents: &mut Contents, path: &str, text: &str) -> Vec<String> {
    let mut outcome = Outcome::default();
    let documents = read(Path::new(path), text, contents.documents(Path::new(path))).map_err(Failure::Malformed);
    contents.put(Path::new(path), Loaded { stamp: None, documents }, &mut outcome);
    told(&outcome)
}

fn remove(contents: &mut Contents, path: &str) -> Vec<String> {
    let mut outcome = Outcome::default();
    contents.remove(Path::new(path), &mut outcome);
    told(&outcome)
}

fn told(outcome: &Outcome) -> Vec<String> {
    let changes = outcome.changes.iter().map(|change| match change {
        Change::Apply(object) => format!("apply {}{}", object.id().name, port_of(object)),
        Change::Delete(id) => format!("delete {}", id.name),
        Change::Reset(..) => panic!("files never reset"),
    });
    changes
        .chain(outcome.read_again.iter().map(|path| format!("read {}", path.display())))
        .collect()
}

fn port_of(object: &Object) -> String {
    let Object::Service(service) = object else {
        return String::new();
    };
    let spec = service.spec.as_ref().unwrap();
    format!(" {}", spec.ports.as_ref().unwrap()[0].port)
}

fn reasons(contents: &Contents) -> Vec<String> {
    contents
        .problems()
        .into_iter()
        .map(|problem| problem.to_string())
        .collect()
}

#[test]
fn only_changed_documents_are_reported() {
    let mut contents = Contents::default();
    let before = [service("a", 1), service("b", 1), service("c", 1)].join("---\n");
    let after = [service("a", 1), service("b", 2), service("d", 1)].join("---\n");
    assert_eq!(
        put(&mut contents, "x.yaml", &before),
        ["apply a 1", "apply b 1", "apply c 1"]
    );
    assert_eq!(put(&mut contents, "x.yaml", &before), [""; 0]);
    assert_eq!(
        put(&mut contents, "x.yaml", &after),
        ["apply b 2", "apply d 1", "delete c"]
    );
    assert_eq!(remove(&mut contents, "x.yaml"), ["delete a", "delete b", "delete d"]);
}

#[test]
fn a_broken_file_keeps_its_last_good_objects_until_it_is_repaired() {
    let mut contents = Contents::default();
    put(&mut contents, "x.yaml", &service("a", 1));
    assert_eq!(put(&mut contents, "x.yaml", "kind: [unclosed"), [""; 0]);
    assert_eq!(contents.problems()[0].place, "x.yaml: document 1");
    assert_eq!(put(&mut contents, "x.yaml", &service("a", 2)), ["apply a 2"]);
    assert_eq!(contents.problems(), []);
}

#[test]
fn an_emptied_file_keeps_its_objects() {
    let mut contents = Contents::default();
    put(&mut contents, "x.yaml", &service("a", 1));
    assert_eq!(put(&mut contents, "x.yaml", " \n"), [""; 0]);
    assert_eq!(
        reasons(&contents),
        ["x.yaml: document 1: the file is empty; delete the file to delete its objects"]
    );
    assert_eq!(remove(&mut contents, "x.yaml"), ["delete a"]);
    assert_eq!(contents.problems(), []);
}

#[test]
fn of_an_object_in_two_files_the_first_file_counts() {
    let mut contents = Contents::default();
    assert_eq!(put(&mut contents, "b.yaml", &service("a", 2)), ["apply a 2"]);
    assert_eq!(put(&mut contents, "c.yaml", &service("a", 3)), [""; 0]);
    assert_eq!(put(&mut contents, "a.yaml", &service("a", 1)), ["apply a 1"]);
    let taken = "Service shop/a is already read from a.yaml; keep one of the two";
    let mut both = reasons(&contents);
    both.sort();
    assert_eq!(both, [format!("b.yaml: {taken}"), format!("c.yaml: {taken}")]);

    assert_eq!(remove(&mut contents, "a.yaml"), ["read b.yaml"]);
    assert_eq!(put(&mut contents, "b.yaml", &service("a", 2)), ["apply a 2"]);
    assert_eq!(remove(&mut contents, "c.yaml"), [""; 0]);
    assert_eq!(contents.problems(), []);
    assert_eq!(remove(&mut contents, "b.yaml"), ["delete a"]);
}

#[test]
fn an_object_twice_in_a_file_is_refused() {
    let mut contents = Contents::default();
    assert_eq!(
        put(
            &mut contents,
            "x.yaml",
            &[service("a", 1), service("a", 2)].join("---\n")
        ),
        [""; 0]
    );
    assert_eq!(
        reasons(&contents),
        ["x.yaml: document 2: Service shop/a is defined twice in this file; keep one of them"]
    );
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_objects() {
    let mut contents = Contents::default();
    put(&mut contents, "x.yaml", &service("a", 1));
    let unreadable = Err(Failure::Unreadable(std::io::Error::other("no permission")));
    contents.put(
        Path::new("x.yaml"),
        Loaded {
            stamp: None,
            documents: unreadable,
        },
        &mut Outcome::default(),
    );
    assert_eq!(reasons(&contents), ["x.yaml: cannot be read: no permission"]);
    assert_eq!(put(&mut contents, "x.yaml", &service("a", 1)), [""; 0]);
    assert_eq!(contents.problems(), []);
}

#[test]
fn files_below_a_directory_are_found_without_its_neighbours() {
    let mut contents = Contents::default();
    for path in ["/m/a.yaml", "/m/a/x.yaml", "/m/a/y/z.yaml", "/m/ab.yaml"] {
        put(&mut contents, path, &service("a", 1));
    }
    let below = contents.below(Path::new("/m/a"));
    assert_eq!(
        below.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        ["/m/a/x.yaml", "/m/a/y/z.yaml"]
    );
}

#[test]
fn an_object_with_an_unknown_field_is_in_force_and_a_problem() {
    let mut contents = Contents::default();
    let newer = service("a", 1).replace("{ ports", "{ novelty: 1, ports");
    assert_eq!(put(&mut contents, "x.yaml", &newer), ["apply a 1"]);
    let problem = reasons(&contents).remove(0);
    let expected = "x.yaml: Service shop/a is used without fields that are not known: spec.novelty: unknown field";
    assert!(problem.starts_with(expected), "{problem}");
    let more = [newer.clone(), service("b", 1)].join("---\n");
    assert_eq!(put(&mut contents, "x.yaml", &more), ["apply b 1"]);
    assert_eq!(reasons(&contents), [problem]);
    assert_eq!(put(&mut contents, "a.yaml", &service("a", 2)), ["apply a 2"]);
    assert_eq!(reasons(&contents).len(), 1, "only that there are two");
    remove(&mut contents, "a.yaml");
    put(&mut contents, "x.yaml", &newer);
    assert_eq!(reasons(&contents).len(), 1);
    remove(&mut contents, "x.yaml");
    assert_eq!(contents.problems(), []);
}
