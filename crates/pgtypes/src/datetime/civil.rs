//! The calendar: days since 2000-01-01 to year, month and day and back, proleptic Gregorian.
//!
//! Years are astronomical: 0 is 1 BC. Everything works far outside the range PostgreSQL accepts,
//! so range checks stand where values are made, not here.

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 2000-01-01.
const MARCH_0_TO_2000: i64 = 730_425;
/// Julian day number of 2000-01-01.
pub const JULIAN_2000: i64 = 2_451_545;

/// Is it a leap year?
pub fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of the month, 1 to 12.
pub fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 2000-01-01 of a date.
pub fn days_of_date(year: i32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - MARCH_0_TO_2000
}

/// Year, month, day of days since 2000-01-01.
pub fn date_of_days(days: i64) -> (i32, u32, u32) {
    let days = days + MARCH_0_TO_2000;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (
        i32::try_from(year).expect("timestamps of 64 bits stay within 32 bits of years"),
        u32::try_from(month).expect("1 to 12"),
        u32::try_from(day).expect("1 to 31"),
    )
}

/// Day of the week of days since 2000-01-01: 0 is Sunday.
pub fn weekday(days: i64) -> u32 {
    u32::try_from((days + 6).rem_euclid(7)).expect("0 to 6")
}

/// Day of the year, from 1.
pub fn day_of_year(days: i64) -> i64 {
    let (year, _, _) = date_of_days(days);
    days - days_of_date(year, 1, 1) + 1
}

/// ISO 8601 year and week of a day.
pub fn iso_week(days: i64) -> (i32, i64) {
    // The week belongs to the year of its Thursday.
    let monday_based = (days + 5).rem_euclid(7);
    let thursday = days - monday_based + 3;
    let (year, _, _) = date_of_days(thursday);
    (year, (thursday - days_of_date(year, 1, 1)) / 7 + 1)
}

/// The Monday of ISO week 1 of a year.
pub fn iso_year_start(year: i32) -> i64 {
    let jan4 = days_of_date(year, 1, 4);
    jan4 - (jan4 + 5).rem_euclid(7)
}
