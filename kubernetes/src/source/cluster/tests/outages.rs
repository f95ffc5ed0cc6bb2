//! What goes wrong between an API server and us.

use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn a_watch_that_ends_resumes_from_its_version() {
    let (mut watched, _) = Watched::with(&[route("shop", "a")]).await;
    watched
        .server
        .until("all are watched", |server| server.watching().len() == 7)
        .await;
    watched.server.bookmark();
    watched.server.apply(service("shop", "a"));
    assert_eq!(watched.next().await, ["apply Service shop/a"]);
    let lists = |server: &ApiServer| {
        let asked = server.asked();
        asked.iter().filter(|asked| !asked.contains("watch=true")).count()
    };
    let before = lists(&watched.server);
    watched.server.end_watches();
    watched.server.apply(service("shop", "b"));
    assert_eq!(watched.next().await, ["apply Service shop/b"], "and not a again");
    watched
        .server
        .until("all are watched", |server| server.watching().len() == 7)
        .await;
    assert_eq!(lists(&watched.server), before, "no new list");
    assert!(watched.source.freshness().borrow().current, "that is no outage");
}

#[tokio::test]
async fn a_watch_resumes_from_a_bookmark() {
    let (watched, _) = Watched::with(&[]).await;
    let server = &watched.server;
    server
        .until("all are watched", |server| server.watching().len() == 4)
        .await;
    let before = server.asked().len();
    let bookmark = server.bookmark();
    server.end_watches();
    server
        .until("all are watched again", |server| server.asked().len() >= before + 4)
        .await;
    let asked = server.asked();
    let version = format!("resourceVersion={bookmark}");
    let from = |asked: &String| asked.contains("watch=true") && asked.ends_with(&version);
    assert!(asked[before..].iter().all(from), "{asked:?}");
}

#[tokio::test]
async fn a_list_after_410_removes_what_has_vanished_and_repeats_nothing() {
    let (mut watched, _) = Watched::with(&[
        route("shop", "a"),
        route("shop", "b"),
        service("shop", "a"),
        service("shop", "b"),
        service("shop", "c"),
    ])
    .await;
    watched
        .server
        .until("all are watched", |server| server.watching().len() == 7)
        .await;
    watched.server.silence(true);
    watched.server.delete("interceptorroutes", "shop", "b");
    watched.server.delete("services", "shop", "b");
    watched.server.apply(service("shop", "c"));
    watched.server.apply(service("shop", "d"));
    watched.server.compact();
    watched.server.silence(false);
    let expected = [
        "apply Service shop/c",
        "apply Service shop/d",
        "delete InterceptorRoute shop/b",
        "delete Service shop/b",
    ];
    assert_eq!(watched.several(4).await, expected);
    watched.server.apply(service("shop", "e"));
    assert_eq!(watched.next().await, ["apply Service shop/e"], "and nothing more");
    assert!(
        watched.source.freshness().borrow().current,
        "to have fallen behind is no outage"
    );
}

#[tokio::test]
async fn an_api_server_that_answers_every_watch_with_410_is_not_asked_without_end() {
    for as_answer in [true, false] {
        let (mut watched, _) = Watched::with(&[route("shop", "a")]).await;
        watched
            .server
            .until("all are watched", |server| server.watching().len() == 7)
            .await;
        let before = watched.server.asked().len();
        let began = Instant::now();
        if as_answer {
            watched.server.refuse_watches("services", Some(410));
            watched.server.end_watches();
        } else {
            watched.server.forget_always("services");
        }
        let lists = |server: &ApiServer| {
            let asked = server.asked();
            let lists = asked[before..]
                .iter()
                .filter(|asked| asked.starts_with("/api/v1/namespaces/shop/services?&limit"));
            lists.count()
        };
        watched.server.apply(service("shop", "new"));
        assert!(
            watched.several(1).await.contains(&"apply Service shop/new".to_owned()),
            "lists go on"
        );
        watched.server.until("it goes on", |server| lists(server) >= 12).await;
        // 12 lists are at least 10 pauses, most of them half of the longest one or more.
        assert!(began.elapsed() >= PACING.longest_pause * 3, "{:?}", began.elapsed());
        watched.server.refuse_watches("services", None);
        watched.server.forget_never();
        watched
            .server
            .until("all are watched", |server| server.watching().len() == 7)
            .await;
        watched.server.apply(service("shop", "newer"));
        assert_eq!(watched.next().await, ["apply Service shop/newer"]);
    }
}

#[tokio::test]
async fn a_watch_that_hears_nothing_is_found_dead() {
    let (mut watched, _) = Watched::with(&[route("shop", "a")]).await;
    watched
        .server
        .until("all are watched", |server| server.watching().len() == 7)
        .await;
    let before = Instant::now();
    watched.server.silence(true);
    watched.server.apply(service("shop", "unheard"));
    let stale = watched.fresh(false).await;
    assert!(stale.since <= before, "nothing has been heard since");
    watched
        .problems(|problems| {
            problems
                .iter()
                .any(|problem| problem.reason.starts_with("the API server does not respond"))
        })
        .await;
    watched.server.silence(false);
    assert_eq!(watched.next().await, ["apply Service shop/unheard"]);
    watched.fresh(true).await;
    watched.problems(|problems| problems.is_empty()).await;
}

#[tokio::test]
async fn a_list_that_is_not_answered_is_asked_for_again() {
    let server = ApiServer::start().await;
    server.apply(route("shop", "a"));
    server.apply(service("shop", "a"));
    server.answer_lists("services", false);
    let mut watched = Watched::open(server, everything());
    watched.fresh(false).await;
    let problems = watched.problems(|problems| problems.len() == 1).await;
    assert_eq!(
        problems[0].place,
        "API server, Services at /api/v1/namespaces/shop/services"
    );
    watched.server.answer_lists("services", true);
    assert_eq!(
        watched.next().await,
        ["first InterceptorRoute shop/a", "first Service shop/a"]
    );
    watched.fresh(true).await;
}

#[tokio::test]
async fn a_kind_refused_from_the_start_counts_as_empty_until_that_is_fixed() {
    let server = ApiServer::start().await;
    for (plural, status) in [("scaledobjects", 403), ("httpscaledobjects", 404)] {
        server.refuse(plural, Some(status));
    }
    server.apply(route("shop", "a"));
    server.apply(scaled("elsewhere", "b", &of_http()));
    server.apply(service("elsewhere", "b"));
    let mut watched = Watched::open(server, everything());
    assert_eq!(watched.next().await, ["first InterceptorRoute shop/a"]);
    let problems = watched.problems(|problems| problems.len() == 2).await;
    assert_eq!(
        problems[0].place,
        "API server, HTTPScaledObjects at /apis/http.keda.sh/v1alpha1/httpscaledobjects"
    );
    assert!(
        problems[0].reason.starts_with("as it was told, since 20"),
        "{problems:?}"
    );
    assert!(watched.source.freshness().borrow().current, "what is known is current");
    watched.server.refuse("scaledobjects", None);
    let expected = ["apply ScaledObject elsewhere/b", "apply Service elsewhere/b"];
    assert_eq!(watched.several(2).await, expected);
    watched.problems(|problems| problems.len() == 1).await;
}

#[tokio::test]
async fn a_failure_at_the_start_delays_the_initial_state() {
    for status in [401, 429, 500, 503] {
        let server = ApiServer::start().await;
        server.apply(route("shop", "a"));
        server.apply(service("shop", "a"));
        server.refuse("services", Some(status));
        let mut watched = Watched::open(server, everything());
        watched.fresh(false).await;
        let told = timeout(PACING.longest_pause * 4, watched.source.next()).await;
        assert!(told.is_err(), "{status}: {told:?}");
        watched.server.refuse("services", None);
        assert_eq!(
            watched.next().await,
            ["first InterceptorRoute shop/a", "first Service shop/a"]
        );
    }
}

#[tokio::test]
async fn a_kind_refused_later_keeps_its_last_state() {
    let (mut watched, _) = Watched::with(&[route("shop", "a"), service("shop", "a")]).await;
    watched
        .server
        .until("all are watched", |server| server.watching().len() == 7)
        .await;
    watched.server.refuse("services", Some(403));
    watched.server.end_watches();
    watched.fresh(false).await;
    let problems = watched.problems(|problems| !problems.is_empty()).await;
    assert_eq!(
        problems[0].place,
        "API server, Services at /api/v1/namespaces/shop/services"
    );
    watched.server.apply(route("shop", "b"));
    assert_eq!(
        watched.next().await,
        ["apply InterceptorRoute shop/b"],
        "and no delete of the Service"
    );
    watched.server.delete("services", "shop", "a");
    watched.server.refuse("services", None);
    assert_eq!(watched.next().await, ["delete Service shop/a"]);
    watched.fresh(true).await;
}

#[tokio::test]
async fn a_kind_that_may_be_listed_but_not_watched_is_listed_repeatedly_and_reported() {
    let server = ApiServer::start().await;
    server.refuse_watches("services", Some(403));
    server.apply(route("shop", "a"));
    server.apply(service("shop", "a"));
    let mut watched = Watched::open(server, everything());
    assert_eq!(watched.next().await.len(), 2);
    watched.fresh(false).await;
    watched.server.apply(service("shop", "b"));
    assert_eq!(watched.next().await, ["apply Service shop/b"]);
    assert!(
        !watched.source.freshness().borrow().current,
        "not current between two lists"
    );
}

#[tokio::test]
async fn after_an_outage_the_changes_since_are_read() {
    let (mut watched, _) = Watched::with(&[route("shop", "a"), service("shop", "a")]).await;
    watched
        .server
        .until("all are watched", |server| server.watching().len() == 7)
        .await;
    let before = Instant::now();
    watched.server.stop().await;
    let stale = watched.fresh(false).await;
    assert!(stale.since >= before);
    let problems = watched.problems(|problems| problems.len() == 6).await;
    assert!(
        problems.iter().all(|problem| problem.place.starts_with("API server, ")),
        "{problems:?}"
    );
    watched.server.apply(service("shop", "b"));
    watched.server.delete("services", "shop", "a");
    watched.server.resume().await;
    assert_eq!(
        watched.several(2).await,
        ["apply Service shop/b", "delete Service shop/a"]
    );
    let fresh = watched.fresh(true).await;
    assert!(fresh.since > stale.since);
    watched.problems(|problems| problems.is_empty()).await;
}

#[tokio::test]
async fn an_invalid_line_causes_a_new_list() {
    let (mut watched, _) = Watched::with(&[route("shop", "a")]).await;
    watched
        .server
        .until("all are watched", |server| server.watching().len() == 7)
        .await;
    watched.server.send("MODIFIED", "services", json!({"what": "is this"}));
    watched.fresh(false).await;
    watched.fresh(true).await;
    watched.server.apply(service("shop", "a"));
    assert_eq!(watched.next().await, ["apply Service shop/a"]);
}
