//! Orders of the operator to a running BLUE, or to the next one: a file each, in its state folder.

use std::io;
use std::path::Path;

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

/// The orders in the folder, each with its file's name. What is no order stays.
pub(super) fn read(orders: &Path) -> io::Result<Vec<(Order, std::ffi::OsString)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(orders)? {
        let name = entry?.file_name();
        let file = name.to_str().and_then(|name| name.strip_prefix("resend-")?.parse().ok());
        found.extend(file.map(|file| (Order::Resend(file), name)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_given() {
        let folder = std::env::temp_dir().join(format!("relay-orders-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("resend-me"), "").expect("written");
        let file = Uuid::from_u128(7);
        order(&folder, Order::Resend(file)).expect("left");
        let found: Vec<_> = read(&folder).expect("read").into_iter().map(|(order, _)| order).collect();
        std::fs::remove_dir_all(&folder).expect("it was there");
        assert_eq!(found, [Order::Resend(file)]);
    }
}
