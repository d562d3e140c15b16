//! Connecting to a place, whatever kind it is.

use zeroize::Zeroizing;

use super::ftp::FtpEndpoint;
use super::local::LocalEndpoint;
use super::sftp::SftpEndpoint;
use super::smb::SmbEndpoint;
use super::{Endpoint, EndpointError, Trouble};
use crate::config::{Place, PlaceKind};

/// Connects to a place and logs in there.
///
/// The password is read anew from its file each time, so that it can be changed while the relay runs.
///
/// # Errors
/// The place cannot be reached, does not let us in, or has no such folder.
pub async fn connect(place: &Place) -> Result<Box<dyn Endpoint>, EndpointError> {
    let password = password(place).await?;
    let password = password.as_ref().map(|password| password.as_str());
    Ok(match place.kind {
        PlaceKind::Dir => Box::new(LocalEndpoint::open_place(&place.path).await?),
        PlaceKind::Ftp | PlaceKind::Ftps => Box::new(FtpEndpoint::connect(place, password).await?),
        PlaceKind::Smb => Box::new(SmbEndpoint::connect(place, password).await?),
        PlaceKind::Sftp => Box::new(SftpEndpoint::connect(place, password).await?),
    })
}

/// The first line of `password_file`; `None` where there is no such file to be read.
async fn password(place: &Place) -> Result<Option<Zeroizing<String>>, EndpointError> {
    let Some(path) = &place.password_file else { return Ok(None) };
    let text = tokio::fs::read_to_string(path).await.map(Zeroizing::new).map_err(|error| {
        EndpointError::new(Trouble::Login, format_args!("read password_file {}", path.display()), error)
    })?;
    Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
}
