//! Connecting to a place, whatever kind it is.

use super::{Endpoint, EndpointError, LocalEndpoint, Trouble};
use crate::config::{Place, PlaceKind};

/// Connects to a place and logs in there.
///
/// # Errors
/// The place cannot be reached, does not let us in, or has no such folder.
pub async fn connect(place: &Place) -> Result<Box<dyn Endpoint>, EndpointError> {
    match place.kind {
        PlaceKind::Dir => Ok(Box::new(LocalEndpoint::open_place(&place.path).await?)),
        kind => {
            Err(EndpointError::new(Trouble::Other, format_args!("use a place of kind {}", kind.name()), "not built"))
        }
    }
}
