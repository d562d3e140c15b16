//! The `relay` command; everything is in the library's `cli`.

fn main() -> std::process::ExitCode {
    relay::cli::main()
}
