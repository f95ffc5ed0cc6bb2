//! Runs a story and restores what it has changed, also when it fails.

use anyhow::{Result, anyhow};

/// Awaits `story`, then `put_back`.
///
/// # Errors
/// The story's error first, since that is the one to look into.
pub async fn then_put_back<T>(
    story: impl Future<Output = Result<T>>,
    put_back: impl Future<Output = Result<()>>,
) -> Result<T> {
    let result = story.await;
    match (result, put_back.await) {
        (result, Ok(())) => result,
        (Ok(_), Err(error)) => Err(error.context("what was changed could not be restored")),
        (Err(first), Err(error)) => Err(anyhow!(
            "{first:#}; and what was changed could not be restored: {error:#}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn of_two_errors_the_storys_is_the_first() {
        let failed = |what: &'static str| ready(Err(anyhow!(what)));
        let result = then_put_back(ready(Ok(7)), ready(Ok(()))).await;
        assert_eq!(result.unwrap(), 7);
        for (story, put_back, expected) in [
            (Err(anyhow!("no answer")), Ok(()), "no answer"),
            (
                Ok(()),
                Err(anyhow!("refused")),
                "what was changed could not be restored: refused",
            ),
        ] {
            let error = then_put_back(ready(story), ready(put_back)).await.unwrap_err();
            assert_eq!(format!("{error:#}"), expected);
        }
        let error = then_put_back::<()>(failed("no answer"), failed("refused"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no answer; and what was changed could not be restored: refused"
        );
    }
}
