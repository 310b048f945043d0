//! A reference that is set once: read, as set, without a lock, whose taking and leaving is a large part of what a request costs.

use std::mem::{self, ManuallyDrop};
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire},
};

use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

#[derive(Default)]
pub(crate) struct SetOnce(AtomicPtr<ffi::PyObject>);

impl SetOnce {
    /// The first one counts.
    pub(crate) fn set(&self, object: Bound<'_, PyAny>) {
        let py = object.py();
        let new = object.into_ptr();
        // Release: who finds it finds the object whole.
        if self.0.compare_exchange(null_mut(), new, AcqRel, Acquire).is_err() {
            // SAFETY: it is the reference that was given, and nobody else got it.
            drop(unsafe { Bound::from_owned_ptr(py, new) });
        }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: it is null, or an object that is kept for as long as this is.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, self.0.load(Acquire)) }
    }

    /// For the collector of garbage.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: a `Py` is a pointer that is not null. This one is not given back when it goes.
        let kept = unsafe {
            mem::transmute::<*mut ffi::PyObject, ManuallyDrop<Option<Py<PyAny>>>>(
                self.0.load(Acquire),
            )
        };
        visit.call(&*kept)
    }
}

impl Drop for SetOnce {
    fn drop(&mut self) {
        let kept = *self.0.get_mut();
        if !kept.is_null() {
            // At the interpreter's end there is nobody to give it back to.
            Python::try_attach(|py| {
                // SAFETY: it is the reference that was set, and nobody gets it any more.
                drop(unsafe { Bound::from_owned_ptr(py, kept) });
            });
        }
    }
}
