//! Orders of the operator to a running BLUE, or to the next one: a file each, in its state folder.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Name of the folder of orders, in BLUE's folder of a channel's files.
pub const ORDERS: &str = "orders";

/// What the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send this file again.
    Resend(Uuid),
}

/// Leaves an order in the folder `orders`, on disk when this returns.
///
/// # Errors
/// The folder cannot be written.
pub fn order(orders: &Path, order: Order) -> io::Result<()> {
    let Order::Resend(file) = order;
    // Whole as soon as it is there: the name says everything.
    std::fs::File::create(orders.join(format!("resend-{file}")))?.sync_all()?;
    std::fs::File::open(orders)?.sync_all()
}

/// The orders in the folder, each with its file. What is no order stays.
pub(super) async fn read(orders: &Path) -> io::Result<Vec<(Order, PathBuf)>> {
    let orders = orders.to_owned();
    blocking(move || {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(orders)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_prefix("resend-"));
            let file = name.and_then(|file| file.parse().ok());
            found.extend(file.map(|file| (Order::Resend(file), path)));
        }
        Ok(found)
    })
    .await
}

/// Removes an order that is carried out.
pub(super) async fn remove(order: PathBuf) -> io::Result<()> {
    blocking(|| std::fs::remove_file(order)).await
}

/// Away from the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::other("the relay stops")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_is_read_as_it_was_given() {
        let folder = std::env::temp_dir().join(format!("relay-orders-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("resend-me"), "").expect("written");
        let file = Uuid::from_u128(7);
        order(&folder, Order::Resend(file)).expect("left");
        let found = read(&folder).await.expect("read");
        assert_eq!(found, [(Order::Resend(file), folder.join(format!("resend-{file}")))]);
        remove(found[0].1.clone()).await.expect("removed");
        assert_eq!(read(&folder).await.expect("read"), []);
        std::fs::remove_dir_all(&folder).expect("it was there");
    }
}
