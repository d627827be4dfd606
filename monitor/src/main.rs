//! The `watchkeeper` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    watchkeeper::cli::main()
}
