use k8s_openapi::jiff::Timestamp;
use tokio::time::advance;

use super::*;

const DURATION: Duration = Duration::from_secs(15);

fn election(identity: &str) -> Election {
    Election::new(identity.to_owned(), DURATION)
}

/// Wall clocks of two machines that are years apart.
fn wall(replica: i64) -> MicroTime {
    MicroTime(Timestamp::from_second(replica * 100_000_000).unwrap())
}

async fn pass(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

/// Claims what the replica may claim, as the API server would accept it.
fn claim_lease(election: &mut Election, replica: i64) -> Option<LeaseSpec> {
    let now = Instant::now();
    let spec = election.claim(now, &wall(replica))?;
    election.claimed(spec.clone(), now);
    Some(spec)
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_does_not_exist_is_created() {
    let mut one = election("one");
    one.observe(None, Instant::now());
    let spec = claim_lease(&mut one, 1).unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("one"));
    assert_eq!(
        (spec.lease_duration_seconds, spec.lease_transitions),
        (Some(15), Some(0))
    );
    assert_eq!((spec.acquire_time, spec.renew_time), (Some(wall(1)), Some(wall(1))));
    assert!(one.leads(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_another_holder_is_left_alone_until_it_has_not_changed_for_its_duration() {
    let (mut one, mut two) = (election("one"), election("two"));
    let spec = claim_lease(&mut one, 1).unwrap();
    two.observe(Some(spec.clone()), Instant::now());
    assert!(claim_lease(&mut two, 2).is_none());
    pass(10).await;
    let renewed = one.claim(Instant::now(), &wall(3)).unwrap();
    assert_eq!(
        renewed.acquire_time, spec.acquire_time,
        "a renewal keeps the acquire time"
    );
    assert_eq!(renewed.lease_transitions, Some(0));
    two.observe(Some(renewed.clone()), Instant::now());
    pass(14).await;
    two.observe(Some(renewed), Instant::now());
    assert!(claim_lease(&mut two, 2).is_none(), "a second is left");
    assert_eq!(two.next(Instant::now()), Instant::now() + Duration::from_secs(1));
    pass(1).await;
    let taken = claim_lease(&mut two, 2).unwrap();
    assert_eq!(taken.lease_transitions, Some(1));
    assert_eq!(taken.acquire_time, Some(wall(2)));
}

#[tokio::test(start_paused = true)]
async fn the_duration_of_another_holder_is_respected() {
    let mut two = election("two");
    let mut foreign = LeaseSpec {
        holder_identity: Some("one".to_owned()),
        lease_duration_seconds: Some(60),
        ..LeaseSpec::default()
    };
    two.observe(Some(foreign.clone()), Instant::now());
    pass(59).await;
    assert!(claim_lease(&mut two, 2).is_none());
    foreign.lease_duration_seconds = None;
    two.observe(Some(foreign), Instant::now());
    pass(15).await;
    assert!(claim_lease(&mut two, 2).is_some(), "without a duration it is our own");
}

#[tokio::test(start_paused = true)]
async fn a_leader_stops_leading_before_another_replica_can_take_over() {
    let (mut one, mut two) = (election("one"), election("two"));
    let asked = Instant::now();
    let spec = one.claim(asked, &wall(1)).unwrap();
    // The answer to the request took its time, and the other one saw the Lease before it came.
    two.observe(Some(spec.clone()), asked);
    pass(3).await;
    one.claimed(spec, asked);
    assert!(one.leads(Instant::now()));
    assert_eq!(one.next(Instant::now()), asked + DURATION / 3);
    pass(6).await;
    assert!(one.leads(Instant::now()) && claim_lease(&mut two, 2).is_none());
    pass(1).await;
    assert!(!one.leads(Instant::now()), "at two thirds");
    assert!(claim_lease(&mut two, 2).is_none());
    pass(4).await;
    assert!(claim_lease(&mut two, 2).is_none());
    pass(1).await;
    assert!(claim_lease(&mut two, 2).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_another_holder_or_no_lease_stops_leading() {
    for now_there in [
        None,
        Some(LeaseSpec {
            holder_identity: Some("two".to_owned()),
            ..LeaseSpec::default()
        }),
    ] {
        let mut one = election("one");
        claim_lease(&mut one, 1).unwrap();
        one.observe(now_there, Instant::now());
        assert!(!one.leads(Instant::now()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_free_at_once() {
    let (mut one, mut two) = (election("one"), election("two"));
    claim_lease(&mut one, 1).unwrap();
    let released = one.release(&wall(1)).unwrap();
    assert_eq!(released.holder_identity, None);
    two.observe(Some(released), Instant::now());
    let spec = claim_lease(&mut two, 2).unwrap();
    assert_eq!(spec.lease_transitions, Some(1));
    one.observe(Some(spec), Instant::now());
    assert_eq!(
        one.release(&wall(1)),
        None,
        "the Lease of another holder is not released"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_ours_without_our_knowing_is_acquired_again() {
    let mut one = election("one");
    let lost_answer = one.claim(Instant::now(), &wall(1)).unwrap();
    assert!(!one.leads(Instant::now()));
    one.observe(Some(lost_answer), Instant::now());
    assert!(!one.leads(Instant::now()), "since when is not known");
    claim_lease(&mut one, 1).unwrap();
    assert!(one.leads(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_with_extreme_numbers_is_acquired_when_its_time_has_passed() {
    for (seconds, held) in [(i32::MIN, 15), (i32::MAX, u64::from(i32::MAX.unsigned_abs()))] {
        let mut one = election("one");
        let spec = LeaseSpec {
            holder_identity: Some("two".to_owned()),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(i32::MAX),
            ..LeaseSpec::default()
        };
        one.observe(Some(spec), Instant::now());
        assert!(claim_lease(&mut one, 1).is_none());
        pass(held).await;
        assert_eq!(claim_lease(&mut one, 1).unwrap().lease_transitions, Some(i32::MAX));
    }
}
