#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn grpc_deadlines_are_read() {
    assert_eq!(grpc_timeout("100m"), Some(Duration::from_millis(100)));
    assert_eq!(grpc_timeout("2S"), Some(Duration::from_secs(2)));
    assert_eq!(grpc_timeout("1H"), Some(Duration::from_secs(3600)));
    for bad in ["", "S", "-1S", "1", "123456789S", "1x", "1é"] {
        assert_eq!(grpc_timeout(bad), None, "{bad}");
    }
}
