//! A value that changes, as callers see it: they look at any time, or wait for the next one.

use tokio::sync::watch;

/// There will be no other value: what was watched has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was watched has ended; there will be no news of it")]
pub struct Ended;

/// A value that changes. Only the newest one is kept: who looks seldom misses what was in between. Each clone remembers by
/// itself what it has seen.
///
/// # Examples
/// ```no_run
/// # async fn example(session: ferri_engine::Session) -> Result<(), ferri_engine::Ended> {
/// let mut network = session.watch_network();
/// println!("{}", network.get().lsd);
/// let status = network.wait_for(|status| status.external_port.is_some()).await?;
/// println!("peers reach us at port {}", status.announced_port());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Watch<T>(watch::Receiver<T>);

impl<T: Clone> Watch<T> {
    pub(crate) fn new(receiver: watch::Receiver<T>) -> Self {
        Self(receiver)
    }

    /// The value at this moment. Never waits. It stays news to [`Self::changed`].
    #[must_use]
    pub fn get(&self) -> T {
        self.0.borrow().clone()
    }

    /// Waits for a value that this did not return before, and returns it. May be dropped while it waits.
    ///
    /// # Errors
    /// [`Ended`] when there will be none.
    pub async fn changed(&mut self) -> Result<T, Ended> {
        self.0.changed().await.map_err(|_| Ended)?;
        Ok(self.0.borrow_and_update().clone())
    }

    /// Waits for a value of which `is_it` is true, the present one included, and returns it. May be dropped while it waits.
    ///
    /// # Errors
    /// [`Ended`] when there will be none.
    pub async fn wait_for(&mut self, mut is_it: impl FnMut(&T) -> bool) -> Result<T, Ended> {
        loop {
            // A clone: the writer of the next value must not wait for a caller's code.
            let value = self.0.borrow_and_update().clone();
            if is_it(&value) {
                return Ok(value);
            }
            self.0.changed().await.map_err(|_| Ended)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn values_are_waited_for_until_there_can_be_none() {
        let (sender, receiver) = watch::channel(1);
        let mut watched = Watch::new(receiver);
        assert_eq!(watched.wait_for(|value| *value == 1).await, Ok(1));
        sender.send_replace(2);
        assert_eq!((watched.get(), watched.changed().await), (2, Ok(2)));
        sender.send_replace(3);
        drop(sender);
        assert_eq!(watched.wait_for(|value| *value == 3).await, Ok(3), "the last one is there for good");
        assert_eq!((watched.changed().await, watched.wait_for(|_| false).await), (Err(Ended), Err(Ended)));
        assert_eq!(watched.get(), 3);
    }
}
