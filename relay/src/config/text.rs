//! Values of the command line, read as the site file reads them.

use toml::de::DeValue;

use super::values::{self, Read};

/// Bits per second of a rate such as `500Mbit/s`.
///
/// # Errors
/// What is wrong and what to write instead.
pub fn rate_of(text: &str) -> Result<u64, String> {
    told(values::rate(&DeValue::String(text.into())))
}

/// A probability such as `1e-5` or `0.001%`, above 0 and below 1.
///
/// # Errors
/// What is wrong and what to write instead.
pub fn probability_of(text: &str) -> Result<f64, String> {
    told(values::probability(&DeValue::String(text.into())))
}

fn told<T>(read: Read<T>) -> Result<T, String> {
    read.map_err(|fault| format!("{}; {}", fault.cause, fault.remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_reads_what_the_site_file_reads() {
        assert_eq!(rate_of("2.5Gbit/s"), Ok(2_500_000_000));
        assert_eq!(probability_of("0.5%"), Ok(0.005));
        let fault = rate_of("fast").expect_err("no rate");
        assert!(fault.contains("500Mbit/s"), "{fault}");
        assert!(probability_of("1").is_err());
    }
}
