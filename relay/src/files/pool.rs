//! Connections to a place that are used again: logging in takes longer than a small file.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, EndpointError, connect};
use crate::config::Place;

/// A connection that nobody has used for so long is made anew: servers drop idle ones after a minute or more.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Idle connections that are kept.
const IDLE_COUNT: usize = 8;

/// Connections to one place.
pub struct Pool {
    place: RwLock<Arc<Place>>,
    idle: Mutex<Vec<(Instant, Box<dyn Endpoint>)>>,
}

impl Pool {
    /// None yet.
    pub fn new(place: Place) -> Self {
        Self { place: RwLock::new(Arc::new(place)), idle: Mutex::default() }
    }

    /// The place.
    pub fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another place from now on, if it is another; what is open stays open.
    pub fn set_place(&self, place: Place) {
        if *self.place() != place {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            *self.place.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(place);
        }
    }

    /// A connection, made now if there is none left.
    ///
    /// # Errors
    /// The place cannot be reached, or does not let us in.
    pub async fn take(&self) -> Result<Box<dyn Endpoint>, EndpointError> {
        while let Some(mut endpoint) = self.idle() {
            if endpoint.is_current().await {
                return Ok(endpoint);
            }
        }
        connect(&self.place()).await
    }

    fn idle(&self) -> Option<Box<dyn Endpoint>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, _)| since.elapsed() < IDLE_MAX);
        idle.pop().map(|(_, endpoint)| endpoint)
    }

    /// Takes a connection back that is in order.
    pub fn give_back(&self, endpoint: Box<dyn Endpoint>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_COUNT {
            idle.push((Instant::now(), endpoint));
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("place", &self.place()).finish_non_exhaustive()
    }
}
