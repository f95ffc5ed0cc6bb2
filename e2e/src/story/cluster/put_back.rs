//! A story that changes something, and what is done afterwards whatever has become of it.

use anyhow::{Result, anyhow};

/// Awaits `story`, then `put_back`.
///
/// # Errors
/// Those of both, the story's first: it is what has to be looked into.
pub async fn then_put_back<T>(
    story: impl Future<Output = Result<T>>,
    put_back: impl Future<Output = Result<()>>,
) -> Result<T> {
    let told = story.await;
    match (told, put_back.await) {
        (told, Ok(())) => told,
        (Ok(_), Err(error)) => Err(error.context("what was changed is not put back")),
        (Err(told), Err(error)) => Err(anyhow!("{told:#}; what was changed is not put back either: {error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn of_two_errors_the_storys_is_the_first() {
        let failed = |what: &'static str| ready(Err(anyhow!(what)));
        let told = then_put_back(ready(Ok(7)), ready(Ok(()))).await;
        assert_eq!(told.unwrap(), 7);
        for (story, put_back, expected) in [
            (Err(anyhow!("no answer")), Ok(()), "no answer"),
            (
                Ok(()),
                Err(anyhow!("refused")),
                "what was changed is not put back: refused",
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
            "no answer; what was changed is not put back either: refused"
        );
    }
}
