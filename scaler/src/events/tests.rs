use keda_http_kubernetes::object::Kind;
use tokio::time::advance;

use super::*;

fn object() -> ObjectRef {
    ObjectRef {
        id: ObjectId {
            kind: Kind::ScaledObject,
            namespace: "shop".into(),
            name: "api".into(),
        },
        uid: None,
    }
}

fn no_service(message: &str) -> Notice {
    Notice::warning(&object(), "AutowireNoService", message.to_owned())
}

fn wired() -> Notice {
    Notice::normal(
        &object(),
        "AutowireWired",
        "port 80 sends traffic to the interceptors".to_owned(),
    )
}

fn replace(notices: &mut Notices, current: &[Notice]) -> Vec<Notice> {
    notices.replace_all(current.iter().cloned().collect(), Instant::now())
}

#[test]
fn a_long_note_is_cut_between_characters() {
    let note = "ä".repeat(600);
    let cut = shorten(&note);
    assert!(cut.len() <= 1024 && cut.ends_with('…'));
    assert_eq!(shorten("short"), "short");
}

#[tokio::test(start_paused = true)]
async fn fault_c13_a_warning_that_is_mended_within_a_moment_is_never_published() {
    let mut notices = Notices::default();
    assert_eq!(replace(&mut notices, &[no_service("a")]), []);
    assert_eq!(notices.deadline(), Some(Instant::now() + SETTLE_TIME));
    advance(SETTLE_TIME / 2).await;
    assert_eq!(
        replace(&mut notices, &[wired()]),
        [wired()],
        "the Service has been seen"
    );
    assert_eq!(notices.deadline(), None);
    advance(SETTLE_TIME).await;
    assert_eq!(replace(&mut notices, &[no_service("a")]), [], "the time begins anew");
}

#[tokio::test(start_paused = true)]
async fn fault_c13_a_warning_that_still_holds_after_a_moment_is_published_once_and_again_when_it_comes_back() {
    let mut notices = Notices::default();
    replace(&mut notices, &[no_service("a")]);
    advance(SETTLE_TIME).await;
    assert_eq!(replace(&mut notices, &[no_service("a")]), [no_service("a")]);
    assert_eq!(notices.deadline(), None);
    assert_eq!(replace(&mut notices, &[no_service("a")]), []);
    assert_eq!(
        replace(&mut notices, &[no_service("b")]),
        [no_service("b")],
        "another message about the same problem has settled already"
    );
    replace(&mut notices, &[wired()]);
    replace(&mut notices, &[no_service("b")]);
    advance(SETTLE_TIME).await;
    assert_eq!(replace(&mut notices, &[no_service("b")]), [no_service("b")]);
}

#[tokio::test(start_paused = true)]
async fn a_warning_that_has_settled_stays_due_after_its_deadline_until_it_is_published() {
    let mut notices = Notices::default();
    replace(&mut notices, &[no_service("a")]);
    let settled = Instant::now() + SETTLE_TIME;
    advance(SETTLE_TIME * 2).await;
    assert_eq!(notices.deadline(), Some(settled), "the leader was busy when it settled");
    assert_eq!(replace(&mut notices, &[no_service("a")]), [no_service("a")]);
    assert_eq!(notices.deadline(), None);
}

#[test]
fn a_new_leader_publishes_only_warnings_at_first() {
    let mut notices = Notices::default();
    assert_eq!(replace(&mut notices, &[wired()]), []);
    assert_eq!(replace(&mut notices, &[wired()]), []);
    assert_eq!(replace(&mut notices, &[]), []);
    assert_eq!(replace(&mut notices, &[wired()]), [wired()]);
}
