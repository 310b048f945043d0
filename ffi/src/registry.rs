//! Objects that C holds by a handle that looks like a pointer and is a number: place, generation and sort. It is looked up and never
//! followed, so a handle that was freed, belongs to another sort or never was one is refused instead of read.
//!
//! A place is memory that is never given back, only used again, so a lookup needs no lock that a forked child could find
//! held: it compares two words, then takes the lock of that one place.

use std::marker::PhantomData;
use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{process, ptr};

use crate::status::{Failure, lameduck_status::*};

const PLACE_BITS: u32 = 14;
/// The lowest bits: odd, so that it can be no pointer to anything, then the sort.
const SORT_BITS: u32 = 4;
const GENERATION_SHIFT: u32 = PLACE_BITS + SORT_BITS;
/// Someone is putting an object in, or the last call on a freed one has not returned.
const RESERVED: usize = 2;

/// What sort of object a handle names.
#[derive(Clone, Copy)]
pub(crate) enum Sort {
    Machine = 0b0011,
    Server = 0b0101,
    Hold = 0b0111,
}

/// A place for an object, and what stays in it for good.
pub(crate) struct Place<T: 'static, P: 'static> {
    /// The handle of the object in it; 0 when it is free.
    handle: AtomicUsize,
    generation: AtomicUsize,
    /// Whose object it is.
    process: AtomicI32,
    object: Mutex<Option<Arc<Entry<T, P>>>>,
    pub(crate) permanent: P,
}

/// An object, and the place that is free again when its last user is gone.
pub(crate) struct Entry<T: 'static, P: 'static> {
    pub(crate) object: T,
    place: &'static Place<T, P>,
}

impl<T, P> Drop for Entry<T, P> {
    fn drop(&mut self) {
        self.place.handle.store(0, Release);
    }
}

/// Up to `N` objects of one sort. `P` is what each place keeps for good.
pub(crate) struct Registry<T: 'static, P: 'static, const N: usize> {
    sort: Sort,
    what: &'static str,
    places: [AtomicPtr<Place<T, P>>; N],
    /// Where to look for a free place.
    hint: AtomicUsize,
    objects: PhantomData<T>,
}

impl<T: Send + Sync, P: Default + Send + Sync, const N: usize> Registry<T, P, N> {
    pub(crate) const fn new(sort: Sort, what: &'static str) -> Self {
        assert!(N <= 1 << PLACE_BITS);
        Self {
            sort,
            what,
            places: [const { AtomicPtr::new(ptr::null_mut()) }; N],
            hint: AtomicUsize::new(0),
            objects: PhantomData,
        }
    }

    /// Puts the object in that `make` makes of its place. Returns its handle.
    pub(crate) fn insert(
        &'static self,
        make: impl FnOnce(&'static P) -> Result<T, Failure>,
    ) -> Result<usize, Failure> {
        let first = self.hint.fetch_add(1, Relaxed);
        let (number, place) = (0..N)
            .map(|step| (first.wrapping_add(step)) % N)
            .map(|number| (number, self.at_or_new(number)))
            .find(|(_, place)| place.handle.compare_exchange(0, RESERVED, AcqRel, Relaxed).is_ok())
            .ok_or_else(|| {
                Failure::new(
                    LAMEDUCK_FULL,
                    format!("there are {N} of {} already: free those that are done", self.what),
                )
            })?;
        // It puts the place back, whatever `make` says.
        let reservation = Reservation(&place.handle);
        let object = make(&place.permanent)?;
        std::mem::forget(reservation);
        let generation = place.generation.fetch_add(1, Relaxed).wrapping_add(1);
        let handle = (generation << GENERATION_SHIFT) | (number << SORT_BITS) | self.sort as usize;
        place.process.store(process_id(), Relaxed);
        *lock(place) = Some(Arc::new(Entry { object, place }));
        place.handle.store(handle, Release);
        Ok(handle)
    }

    /// The object of a handle.
    pub(crate) fn find(&'static self, handle: usize) -> Result<Arc<Entry<T, P>>, Failure> {
        let place = self.place(handle)?;
        if place.process.load(Relaxed) != process_id() {
            return Err(self.forked());
        }
        let object = lock(place);
        // Anew, under the lock: it may have been freed, and its place used again.
        match &*object {
            Some(entry) if place.handle.load(Relaxed) == handle => Ok(Arc::clone(entry)),
            _ => Err(self.unknown()),
        }
    }

    /// What stays in the place of a handle. Two loads: the object may be gone by the time that it is used.
    #[inline]
    pub(crate) fn permanent(&'static self, handle: usize) -> Result<&'static P, Failure> {
        Ok(&self.place(handle)?.permanent)
    }

    /// Takes the object away; its handle is stale from now on.
    pub(crate) fn remove(&'static self, handle: usize) -> Result<Arc<Entry<T, P>>, Failure> {
        let place = self.place(handle)?;
        if place.process.load(Relaxed) != process_id() {
            return Err(self.forked());
        }
        let mut object = lock(place);
        if place.handle.load(Relaxed) != handle {
            return Err(self.unknown());
        }
        // Until the last call on it has returned.
        place.handle.store(RESERVED, Release);
        object.take().ok_or_else(|| self.unknown())
    }

    /// How many there are.
    pub(crate) fn len(&'static self) -> usize {
        (0..N).filter_map(|n| self.at(n)).filter(|p| p.handle.load(Acquire) > RESERVED).count()
    }

    #[inline]
    fn place(&'static self, handle: usize) -> Result<&'static Place<T, P>, Failure> {
        // Acquire: what was put in before its handle was stored is there.
        match self.at((handle >> SORT_BITS) % (1 << PLACE_BITS)) {
            Some(place) if handle > RESERVED && place.handle.load(Acquire) == handle => Ok(place),
            _ => Err(self.unknown()),
        }
    }

    #[inline]
    fn at(&'static self, number: usize) -> Option<&'static Place<T, P>> {
        let place = self.places.get(number)?.load(Acquire);
        // SAFETY: what is not null was made by `at_or_new` and is never freed.
        unsafe { place.as_ref() }
    }

    fn at_or_new(&'static self, number: usize) -> &'static Place<T, P> {
        if let Some(place) = self.at(number) {
            return place;
        }
        let new = Box::into_raw(Box::new(Place {
            handle: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            process: AtomicI32::new(0),
            object: Mutex::new(None),
            permanent: P::default(),
        }));
        let exchanged = self.places[number].compare_exchange(ptr::null_mut(), new, AcqRel, Acquire);
        let place = match exchanged {
            Ok(_) => new,
            Err(theirs) => {
                // SAFETY: nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                theirs
            }
        };
        // SAFETY: it is in the table, and never freed.
        unsafe { &*place }
    }

    #[cold]
    fn unknown(&self) -> Failure {
        Failure::new(
            LAMEDUCK_INVALID_HANDLE,
            format!("the {} was freed, or never was one", self.what),
        )
    }

    #[cold]
    fn forked(&self) -> Failure {
        Failure::new(
            LAMEDUCK_FORKED,
            format!("the {} belongs to the parent process: make one in this process", self.what),
        )
    }
}

struct Reservation(&'static AtomicUsize);

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.store(0, Release);
    }
}

fn lock<T: 'static, P: 'static>(place: &Place<T, P>) -> MutexGuard<'_, Option<Arc<Entry<T, P>>>> {
    place.object.lock().unwrap_or_else(PoisonError::into_inner)
}

fn process_id() -> i32 {
    process::id().cast_signed()
}
