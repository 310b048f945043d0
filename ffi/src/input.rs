//! What C passes: pointers that may be NULL, numbers that may be no value of their enum.

use std::time::Duration;

use crate::status::{Failure, lameduck_status::*};

/// A C `bool`, of which a wrong program may make any byte: everything but 0 is true.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Flag(u8);

impl Flag {
    pub(crate) const FALSE: Self = Self(0);

    pub(crate) fn is_set(self) -> bool {
        self.0 != 0
    }
}

pub(crate) fn null(what: &str) -> Failure {
    Failure::new(LAMEDUCK_NULL_POINTER, format!("{what} is NULL"))
}

/// What a pointer points to.
///
/// # Safety
/// If it is neither NULL nor misaligned, it is valid for reads as long as the result is used.
pub(crate) unsafe fn pointee<'a, T>(pointer: *const T, what: &str) -> Result<&'a T, Failure> {
    if pointer.is_null() {
        return Err(null(what));
    }
    if !pointer.is_aligned() {
        return Err(Failure::new(LAMEDUCK_UNKNOWN_VALUE, format!("{what} is no aligned pointer")));
    }
    // SAFETY: not NULL, aligned, and valid by this function's contract.
    Ok(unsafe { &*pointer })
}

/// Where a result is to be written, checked before anything is done.
pub(crate) struct Output<T>(*mut T);

impl<T> Output<T> {
    pub(crate) fn new(pointer: *mut T, what: &str) -> Result<Self, Failure> {
        if pointer.is_null() {
            return Err(null(what));
        }
        if !pointer.is_aligned() {
            return Err(Failure::new(
                LAMEDUCK_UNKNOWN_VALUE,
                format!("{what} is no aligned pointer"),
            ));
        }
        Ok(Self(pointer))
    }

    /// # Safety
    /// The pointer is valid for writes.
    pub(crate) unsafe fn write(self, value: T) {
        // SAFETY: not NULL, aligned, and valid by this function's contract.
        unsafe { self.0.write(value) };
    }
}

/// `LAMEDUCK_UNSET`.
pub(crate) const UNSET: u64 = u64::MAX;
/// `LAMEDUCK_UNLIMITED`.
pub(crate) const UNLIMITED: u64 = u64::MAX - 1;

/// A span that may be unset; it cannot be unlimited.
pub(crate) fn span(nanos: u64, what: &str) -> Result<Option<Duration>, Failure> {
    match nanos {
        UNSET => Ok(None),
        UNLIMITED => Err(Failure::new(
            LAMEDUCK_UNKNOWN_VALUE,
            format!("{what} cannot be unlimited; leave it LAMEDUCK_UNSET, or give nanoseconds"),
        )),
        nanos => Ok(Some(Duration::from_nanos(nanos))),
    }
}

/// A C enum as it comes in, and what it becomes.
macro_rules! input_enum {
    ($raw:ident: $c:ident => $rust:ty, $what:literal, { $($variant:ident => $value:expr,)+ }) => {
        /// The number that C passed.
        #[repr(transparent)]
        #[derive(Clone, Copy)]
        pub struct $raw(u32);

        impl From<$c> for $raw {
            fn from(value: $c) -> Self {
                Self(value as u32)
            }
        }

        impl $raw {
            pub(crate) fn parse(self) -> Result<$rust, $crate::status::Failure> {
                $(if self.0 == $c::$variant as u32 { return Ok($value); })+
                Err($crate::status::Failure::new(
                    $crate::status::lameduck_status::LAMEDUCK_UNKNOWN_VALUE,
                    format!(concat!("{} is no ", $what), self.0),
                ))
            }
        }
    };
}
pub(crate) use input_enum;
