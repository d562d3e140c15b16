//! Connections to a place that are used again: logging in takes longer than a small file.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, EndpointError, connect};
use crate::config::Place;

/// A connection that nobody has used for so long is made anew: servers drop idle ones after a minute or more.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Idle connections that are kept.
const IDLE_COUNT: usize = 8;

/// Connections to one place.
pub struct Pool(Mutex<Inside>);

struct Inside {
    place: Arc<Place>,
    /// To this place, and no other.
    idle: Vec<(Instant, Connection)>,
}

/// A connection that is in use; who is done with it gives it back, or drops it if it is not in order.
pub struct Connection {
    endpoint: Box<dyn Endpoint>,
    place: Arc<Place>,
}

impl Connection {
    /// Where it leads to, whatever a reload has made of the pool's place since.
    pub fn place(&self) -> &Arc<Place> {
        &self.place
    }
}

impl Deref for Connection {
    type Target = dyn Endpoint;

    fn deref(&self) -> &Self::Target {
        &*self.endpoint
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.endpoint
    }
}

impl Pool {
    /// None yet.
    pub fn new(place: Place) -> Self {
        Self(Mutex::new(Inside { place: Arc::new(place), idle: Vec::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place.
    pub fn place(&self) -> Arc<Place> {
        Arc::clone(&self.lock().place)
    }

    /// Another place from now on, if it is another; connections in use still lead to the one before.
    pub fn set_place(&self, place: Place) {
        let mut inside = self.lock();
        if *inside.place != place {
            *inside = Inside { place: Arc::new(place), idle: Vec::new() };
        }
    }

    /// Does a connection still lead to the place?
    pub fn leads_here(&self, connection: &Connection) -> bool {
        Arc::ptr_eq(&self.lock().place, &connection.place)
    }

    /// A connection, made now if there is none left.
    ///
    /// # Errors
    /// The place cannot be reached, or does not let us in.
    pub async fn take(&self) -> Result<Connection, EndpointError> {
        while let Some(mut connection) = self.idle() {
            if connection.is_current().await {
                return Ok(connection);
            }
        }
        let place = self.place();
        Ok(Connection { endpoint: connect(&place).await?, place })
    }

    fn idle(&self) -> Option<Connection> {
        let idle = &mut self.lock().idle;
        idle.retain(|(since, _)| since.elapsed() < IDLE_MAX);
        idle.pop().map(|(_, connection)| connection)
    }

    /// Takes a connection back that is in order. One to a place that is not this any more ends.
    pub fn give_back(&self, connection: Connection) {
        let mut inside = self.lock();
        if Arc::ptr_eq(&inside.place, &connection.place) && inside.idle.len() < IDLE_COUNT {
            inside.idle.push((Instant::now(), connection));
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("place", &self.place()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_given_back_after_the_place_has_changed_is_not_used_again() {
        let all = std::env::temp_dir().join(format!("relay-pool-{}", std::process::id()));
        let place = |name: &str| {
            std::fs::create_dir_all(all.join(name)).expect("a folder");
            Place::folder(&all.join(name).to_string_lossy())
        };
        let pool = Pool::new(place("old"));
        let (idle, used) = (pool.take().await.expect("there"), pool.take().await.expect("there"));
        pool.give_back(idle);
        pool.set_place(place("new"));
        assert!(!pool.leads_here(&used));
        pool.give_back(used);
        let now = pool.take().await.expect("there");
        assert_eq!(**now.place(), place("new"));
        pool.give_back(now);
        assert!(pool.leads_here(&pool.take().await.expect("there")), "kept, since it leads to the place");
        std::fs::remove_dir_all(&all).expect("it was there");
    }
}
