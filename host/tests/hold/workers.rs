//! Several processes that hold a listener: who of them fences it.

use super::*;

/// The parent keeps its listener and has one worker recycled.
pub fn recycle_a_worker() {
    let listener = bind();
    // SAFETY: there is one thread only, so the child may do anything.
    let worker = unsafe { libc::fork() };
    if worker == 0 {
        let serve = load_server();
        serve(listener.into_raw_fd(), 1, Some(hold_the_c_server), Some(announcing));
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: a child of this process; a writable int.
    unsafe { libc::waitpid(worker, &mut status, 0) };
    // The next worker.
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = [0; 64];
    let read = stream.read(&mut bytes).unwrap();
    stream.write_all(&bytes[..read]).unwrap();
    println!("{status}");
}

pub fn a_recycled_worker_fences_nobody() {
    let (mut process, to) = start_server("recycle_a_worker");
    let worker = children(process.child.id())[0];
    assert_eq!(request(&mut TcpStream::connect(to).unwrap()), Some(false));
    // SAFETY: no preconditions; a grandchild of this test.
    unsafe { libc::kill(worker, SIGTERM) };
    // Until the worker is gone, which the parent is waiting for.
    let limit = Instant::now() + LONG;
    while !children(process.child.id()).is_empty() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A SYN that a fence dropped would be repeated after a second.
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(900)).unwrap();
    stream.write_all(b"next").unwrap();
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(process.line(), "0");
    assert!(process.end().status.success());
}

pub fn children(process: u32) -> Vec<libc::pid_t> {
    let path = format!("/proc/{process}/task/{process}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// As gunicorn does: the parent closes its listener first and then tells both workers.
pub fn stop_two_workers() {
    stop_workers(Fencing::Auto, true, 2, Parent::Silent);
}

/// As uvicorn does: the parent keeps its listener until both workers are gone.
pub fn stop_two_workers_of_a_parent_that_ends() {
    stop_workers(Fencing::Siblings, false, 2, Parent::Silent);
}

/// As uvicorn does with a worker that it replaces.
pub fn stop_one_of_two_workers() {
    stop_workers(Fencing::Siblings, false, 1, Parent::Silent);
}

/// As hypercorn does on SIGTERM: the parent keeps its listener, and waits until any worker is gone.
pub fn stop_the_workers_of_a_parent_that_told_them() {
    stop_workers(Fencing::Auto, false, 2, Parent::ToldAndWaitsForAny);
}

/// As hypercorn does on SIGHUP: the parent keeps its listener for those that come after.
pub fn replace_the_workers_of_a_parent_that_told_them() {
    stop_workers(Fencing::Auto, false, 2, Parent::Told);
}

/// As hypercorn does when one of its workers gets a signal from elsewhere.
pub fn stop_workers_of_a_parent_that_waits_for_any() {
    stop_workers(Fencing::Auto, false, 2, Parent::WaitsForAny);
}

#[derive(Clone, Copy, PartialEq)]
pub enum Parent {
    Silent,
    Told,
    ToldAndWaitsForAny,
    WaitsForAny,
}

/// Tells the first `stopped` of two workers to stop; they say whether they fenced.
pub fn stop_workers(fencing: Fencing, lets_go: bool, stopped: usize, parent: Parent) {
    let listener = bind();
    let (alive, held_by_workers) = std::io::pipe().unwrap();
    let semaphore = shared_semaphore();
    // SAFETY: it is never freed.
    let flag = unsafe { StopFlag::new(semaphore) };
    let (mut read_ready, mut ready) = std::io::pipe().unwrap();
    let workers = [0; 2].map(|_| {
        // SAFETY: there is one thread only, so the child may do anything.
        let worker = unsafe { libc::fork() };
        if worker == 0 {
            install(SIGTERM);
            let stop_flag = (parent != Parent::Silent).then_some(flag);
            let options = Options { fencing, stop_flag, ..Options::new(policy(WINDOW, GRACE)) };
            let hold = Hold::start(options, |_| ()).unwrap();
            println!("held");
            ready.write_all(&[0]).unwrap();
            await_runs(1);
            let ways = hold.ways();
            let told = matches!(ways[..], [(_, Ok(Way::Fenced(_)))]);
            println!("{}", told && is_fenced(&listener));
            drop(hold);
            std::process::exit(0);
        }
        worker
    });
    let _kept = (!lets_go).then_some(listener);
    read_ready.read_exact(&mut [0; 2]).unwrap();
    if matches!(parent, Parent::Told | Parent::ToldAndWaitsForAny) {
        // SAFETY: it was initialised.
        assert_eq!(unsafe { libc::sem_post(semaphore) }, 0);
    } else {
        for worker in &workers[..stopped] {
            // SAFETY: children of this process.
            unsafe { libc::kill(*worker, SIGTERM) };
        }
    }
    drop(held_by_workers);
    if matches!(parent, Parent::WaitsForAny | Parent::ToldAndWaitsForAny) {
        let mut end = libc::pollfd { fd: alive.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one pollfd, and 1 is how many there are.
        assert_eq!(unsafe { libc::poll(&mut end, 1, -1) }, 1);
    }
    for worker in &workers[..stopped] {
        let mut status = 0;
        // SAFETY: a child of this process; a writable int.
        unsafe { libc::waitpid(*worker, &mut status, 0) };
        assert_eq!(status, 0);
    }
    for worker in &workers[stopped..] {
        // SAFETY: children of this process.
        unsafe { libc::kill(*worker, libc::SIGKILL) };
    }
}

/// Zero, and the same one in children.
pub fn shared_semaphore() -> *mut libc::sem_t {
    let length = size_of::<libc::sem_t>();
    let (may, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, long enough for a semaphore.
    unsafe {
        let memory = libc::mmap(std::ptr::null_mut(), length, may, how, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        let semaphore = memory.cast::<libc::sem_t>();
        assert_eq!(libc::sem_init(semaphore, 1, 0), 0);
        semaphore
    }
}

pub fn workers_whose_parent_let_go_fence() {
    assert_eq!(said_by_workers("stop_two_workers"), ["held", "held", "true", "true"]);
}

pub fn workers_whose_parent_ends_with_them_fence() {
    let said = said_by_workers("stop_two_workers_of_a_parent_that_ends");
    assert_eq!(said, ["held", "held", "true", "true"]);
}

pub fn workers_whose_parent_told_them_and_waits_for_any_fence() {
    let said = said_by_workers("stop_the_workers_of_a_parent_that_told_them");
    assert_eq!(said, ["held", "held", "true", "true"]);
}

pub fn workers_whose_parent_replaces_them_do_not() {
    for scenario in [
        "replace_the_workers_of_a_parent_that_told_them",
        "stop_workers_of_a_parent_that_waits_for_any",
    ] {
        assert_eq!(said_by_workers(scenario), ["held", "held", "false", "false"], "{scenario}");
    }
}

pub fn a_worker_that_stops_alone_does_not() {
    assert_eq!(said_by_workers("stop_one_of_two_workers"), ["held", "held", "false"]);
}

pub fn said_by_workers(scenario: &str) -> Vec<String> {
    let end = Process::start(scenario).end();
    assert!(end.status.success(), "{end:?}");
    end.stdout.lines().skip(1).map(str::to_owned).collect()
}

/// A parent of another user, which may or may not hold a listener: its child cannot see.
pub fn give_up_rights() {
    const NOBODY: libc::uid_t = 65534;
    let parents = bind();
    // SAFETY: there is one thread only, so the child may do anything.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no preconditions.
        assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
        let own = bind();
        install(SIGTERM);
        let hold = Hold::start(short(), |_| ()).unwrap();
        raise(SIGTERM);
        await_runs(1);
        println!("{} {}", is_fenced(&parents), is_fenced(&own));
        drop(hold);
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: a child of this process; a writable int.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
}

pub fn below_another_user_only_what_it_opened_is_fenced() {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        println!("not root: nothing to give up");
        return;
    }
    let end = Process::start("give_up_rights").end();
    assert!(end.status.success(), "{end:?}");
    assert_eq!(end.stdout.lines().last(), Some("false true"), "{end:?}");
}

/// Whether the listener is fenced, by a filter or by an interface.
pub fn is_fenced(listener: &TcpListener) -> bool {
    const SO_GET_FILTER: c_int = libc::SO_ATTACH_FILTER;
    let ask = |option: c_int, value: *mut libc::c_void, length: &mut libc::socklen_t| {
        // SAFETY: the value has the length that is passed with it.
        let failed = unsafe {
            libc::getsockopt(listener.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
        };
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    };
    // Asked for nothing, the system tells the filter's length.
    let (mut steps, mut interface, mut length) = (0, 0_i32, 4);
    ask(SO_GET_FILTER, std::ptr::null_mut(), &mut steps);
    ask(libc::SO_BINDTOIFINDEX, (&raw mut interface).cast(), &mut length);
    steps > 0 || interface != 0
}
