//! Functions that the interpreter calls as they are, and calls of its functions. Those that the macros make cost a request more
//! than what they do: they take arguments by name, keep account of threads and make tuples.

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::OnceLock;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// A function's definition. It is never written to, but the interpreter asks for a pointer that could.
pub(crate) struct Method(UnsafeCell<ffi::PyMethodDef>);
// SAFETY: see above.
unsafe impl Sync for Method {}

impl Method {
    /// Without an argument.
    pub(crate) const fn of_none(name: &'static CStr, function: ffi::PyCFunction) -> Self {
        Self::new(name, ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_NOARGS)
    }

    /// Of one argument.
    pub(crate) const fn of_one(name: &'static CStr, function: ffi::PyCFunction) -> Self {
        Self::new(name, ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_O)
    }

    /// Of several, none by name.
    pub(crate) const fn of_several(name: &'static CStr, function: ffi::PyCFunctionFast) -> Self {
        Self::new(name, ffi::PyMethodDefPointer { PyCFunctionFast: function }, ffi::METH_FASTCALL)
    }

    const fn new(name: &'static CStr, function: ffi::PyMethodDefPointer, flags: i32) -> Self {
        let (ml_name, ml_doc) = (name.as_ptr(), std::ptr::null());
        Self(UnsafeCell::new(ffi::PyMethodDef {
            ml_name,
            ml_meth: function,
            ml_flags: flags,
            ml_doc,
        }))
    }

    /// The function, with `slf` as its first argument.
    pub(crate) fn bound<'py>(
        &'static self,
        slf: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the definition lives for ever. A module is not asked for.
        unsafe {
            let made = ffi::PyCFunction_NewEx(self.0.get(), slf.as_ptr(), std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(slf.py(), made)
        }
    }

    /// Makes it a method of `class`: the interpreter calls it with an instance of that class only.
    pub(crate) fn add_to(&'static self, name: &str, class: &Bound<'_, PyType>) -> PyResult<()> {
        // SAFETY: the definition lives for ever, and `class` is a class.
        let made = unsafe {
            let made = ffi::PyDescr_NewMethod(class.as_ptr().cast(), self.0.get());
            Bound::from_owned_ptr_or_err(class.py(), made)?
        };
        class.setattr(name, made)
    }
}

/// What such a function does, in a panic boundary.
///
/// What it drops it should drop as `Bound`: the bindings do not know that this thread is attached, and would put a `Py` off.
///
/// # Safety
/// For a function that the interpreter calls on this thread.
pub(crate) unsafe fn call<'py, T>(
    body: impl FnOnce(Python<'py>) -> PyResult<Bound<'py, T>>,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls only from threads that are attached to it.
    let py = unsafe { Python::assume_attached() };
    let done = catch_unwind(AssertUnwindSafe(|| body(py)));
    let bug = |_| Err(PyRuntimeError::new_err("lameduck: a bug, see what was printed"));
    match done.unwrap_or_else(bug) {
        Ok(value) => value.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

/// The arguments of a function of several.
///
/// # Safety
/// They are what the interpreter passed, and are looked at while it calls.
pub(crate) unsafe fn arguments<'a, 'py, const N: usize>(
    py: Python<'py>,
    name: &str,
    given: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> PyResult<[Borrowed<'a, 'py, PyAny>; N]> {
    if usize::try_from(count) != Ok(N) {
        return Err(PyTypeError::new_err(format!("{name}() takes {N} arguments, not {count}")));
    }
    // SAFETY: there are as many, none is null, and the caller keeps them.
    Ok(std::array::from_fn(|n| unsafe { Borrowed::from_ptr(py, *given.add(n)) }))
}

type Vectorcall = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    usize,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

/// `PY_VECTORCALL_ARGUMENTS_OFFSET`.
const FIRST_IS_SPARE: usize = 1 << (usize::BITS - 1);

/// A function of the interpreter since 3.11, and one that this extension may take for granted since 3.12.
fn vectorcall() -> Option<Vectorcall> {
    static FOUND: OnceLock<Option<Vectorcall>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: the name ends. Where it is found it is that function.
        unsafe {
            let found = libc::dlsym(libc::RTLD_DEFAULT, c"PyObject_Vectorcall".as_ptr());
            mem::transmute::<*mut libc::c_void, Option<Vectorcall>>(found)
        }
    })
}

/// Calls `function` with up to three arguments.
pub(crate) fn apply<'py, const N: usize>(
    function: &Bound<'py, PyAny>,
    arguments: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    const { assert!(N <= 3) };
    // The first is for the callee, which may put what it is bound to there.
    let mut given = [null_mut::<ffi::PyObject>(); 4];
    for (given, argument) in given[1..].iter_mut().zip(arguments) {
        *given = argument.as_ptr();
    }
    let end = null_mut::<ffi::PyObject>();
    // SAFETY: they are objects that live meanwhile. What is left of `given` is null, which ends the list.
    unsafe {
        let function_ptr = function.as_ptr();
        let result = match vectorcall() {
            Some(call) => {
                let count = N | FIRST_IS_SPARE;
                call(function_ptr, given.as_mut_ptr().add(1).cast_const(), count, end)
            }
            None => {
                ffi::PyObject_CallFunctionObjArgs(function_ptr, given[1], given[2], given[3], end)
            }
        };
        Bound::from_owned_ptr_or_err(function.py(), result)
    }
}
