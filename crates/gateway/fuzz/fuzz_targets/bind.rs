//! Statements: bound or refused, never a panic nor an error of ours (XX000).

#![no_main]

#[path = "../../../sql/tests/suite/fuzzed/drive.rs"]
mod drive;
#[path = "../../../sql/tests/suite/support/mod.rs"]
mod support;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static DRIVER: RefCell<drive::Driver> = RefCell::new(drive::Driver::new());
}

fuzz_target!(|text: &str| {
    DRIVER.with_borrow_mut(|driver| drop(driver.bind(text)));
});
