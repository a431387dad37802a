//! COPY data, in one piece and in two: the same rows or the same error. The first byte says which format it
//! is, the second where it is cut.

#![no_main]

#[path = "../../../sql/tests/suite/fuzzed/drive.rs"]
mod drive;
#[path = "../../../sql/tests/suite/support/mod.rs"]
mod support;

use std::cell::RefCell;

use drive::Format;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static DRIVER: RefCell<drive::Driver> = RefCell::new(drive::Driver::new());
}

fuzz_target!(|bytes: &[u8]| {
    let [format, cut, data @ ..] = bytes else { return };
    let format = Format::ALL[usize::from(*format) % Format::ALL.len()];
    DRIVER.with_borrow_mut(|driver| {
        let whole = driver.copy(format, data, &[]);
        let parts = driver.copy(format, data, &[usize::from(*cut)]);
        match (whole, parts) {
            (Ok(whole), Ok(parts)) => assert_eq!(whole, parts),
            (Err(whole), Err(parts)) => assert_eq!(whole.code(), parts.code()),
            (whole, parts) => panic!("{whole:?} in one piece, {parts:?} in two"),
        }
    });
});
