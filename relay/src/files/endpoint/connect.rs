//! Connecting to a place, whatever kind it is.

use super::{Endpoint, EndpointError, Trouble};
use crate::config::{Place, PlaceKind};

/// Connects to a place and logs in there.
///
/// The password is read anew from its file each time, so that it can be changed while the relay runs.
///
/// # Errors
/// The place cannot be reached, does not let us in, or has no such folder.
pub async fn connect(place: &Place) -> Result<Box<dyn Endpoint>, EndpointError> {
    match place.kind {
        PlaceKind::Dir | PlaceKind::Ftp | PlaceKind::Ftps | PlaceKind::Smb | PlaceKind::Sftp => Err(
            EndpointError::new(Trouble::Other, format_args!("use a place of kind {}", place.kind.name()), "not built"),
        ),
    }
}
