// lameduck.hpp: what it owns, what it throws, and a whole shutdown in each way. Sockets, threads and signals are real.
#include <lameduck.hpp>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <thread>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

void check(bool holds, const char *what, int line) {
    if (holds) return;
    std::fprintf(stderr, "face.cpp:%d: %s does not hold; lameduck's last error: %s\n", line, what, lameduck_last_error());
    std::abort();
}
#define CHECK(what) check(static_cast<bool>(what), #what, __LINE__)

/** The error that `call` throws. */
template <typename Call>
lameduck::error thrown(Call call) {
    try {
        call();
    } catch (const lameduck::error &error) {
        return error;
    }
    return lameduck::error(LAMEDUCK_OK, "nothing was thrown");
}

template <typename Type>
constexpr bool move_only = !std::is_copy_constructible_v<Type> && !std::is_copy_assignable_v<Type> && std::is_nothrow_move_constructible_v<Type>;
static_assert(move_only<lameduck::server> && move_only<lameduck::connection> && move_only<lameduck::request> && move_only<lameduck::job>);
static_assert(move_only<lameduck::machine> && move_only<lameduck::hold> && move_only<lameduck::pending_hook>);

lameduck::options quick(lameduck::drive drive) {
    lameduck::options options;
    options.policy.grace = 10s;
    options.policy.window = 300ms;
    options.policy.settle = 10ms;
    options.policy.quiet = 50ms;
    options.policy.environment.emplace();
    options.drive = drive;
    return options;
}

int listening() {
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(descriptor >= 0 && bind(descriptor, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0 && listen(descriptor, 16) == 0);
    return descriptor;
}

void a_whole_shutdown(lameduck::drive drive) {
    std::string log;
    std::vector<lameduck::phase> phases;
    std::atomic<int> ran{0}, code{-1};
    std::optional<lameduck::server> duck;
    std::optional<lameduck::connection> connection;
    std::mutex mutex; // of `log`
    int context = 0;

    lameduck::options options = quick(drive);
    options.callbacks.log = [&](lameduck::level, const char *line) {
        std::lock_guard<std::mutex> lock(mutex);
        log += std::string(line) + "\n";
    };
    options.callbacks.phase = [&](lameduck::phase phase) { phases.push_back(phase); };
    options.callbacks.announce_close = [](std::uint64_t, void *) { throw std::runtime_error("announced in vain"); };
    options.callbacks.close_idle = [&](std::uint64_t which, void *given) {
        CHECK(which == connection->handle() && given == &context);
        connection->close();
    };
    options.callbacks.close_listener = [&](std::uint64_t listener, int descriptor) {
        ::close(descriptor);
        duck->listener_closed(listener);
    };
    options.callbacks.done = [&](int with) { code = with; };
    lameduck::server first(std::move(options));
    duck.emplace(std::move(first));
    CHECK(thrown([&] { first.add_listener(0); }).status() == LAMEDUCK_NULL_POINTER);

    CHECK(duck->add_listener(listening()) != 0);
    CHECK(thrown([&] { duck->add_listener(0); }).status() == LAMEDUCK_BAD_DESCRIPTOR);
    duck->on_drain_begin("deregister", [&] { ran += 1; });
    duck->on_close("database", [&] { throw std::runtime_error("the pool is stuck"); }, { 0, 1s });
    std::thread later;
    duck->on_close_later("queue", [&](lameduck::pending_hook hook) {
        later = std::thread([&, hook = std::move(hook)]() mutable {
            ran += 10;
            hook.succeeded();
        });
    });
    duck->on_close_later("thrown away", [](lameduck::pending_hook) { throw std::runtime_error("no queue"); });
    duck->on_close_later("forgotten", [](lameduck::pending_hook) {});
    duck->on_flush("log", [&] { ran += 100; });
    CHECK(thrown([&] { duck->on_close("bad", [] {}, { 0, -1ns }); }).status() == LAMEDUCK_UNKNOWN_VALUE);

    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    connection = duck->open(pair[0], lameduck::protocol::http1, &context);
    connection->describe("127.0.0.1:4711");
    {
        auto request = connection->try_begin();
        CHECK(request && !request->head());
        request->end();
        CHECK(request->try_end() == LAMEDUCK_NULL_POINTER);
        CHECK(thrown([&] { request->end(); }).status() == LAMEDUCK_NULL_POINTER);
    }
    connection->begin(); // its client has gone
    CHECK(duck->metrics().in_flight == 0 && duck->ready());
    std::optional<lameduck::request> slow = connection->begin();
    slow->describe(lameduck::request_kind::ordinary, "GET /slow");
    CHECK(duck->blockers().find("GET /slow") == std::string::npos);
    lameduck::job job = duck->begin_job("import");

    CHECK(kill(getpid(), SIGTERM) == 0);
    while (duck->phase() == lameduck::phase::serving) std::this_thread::yield();
    CHECK(!duck->ready() && duck->blockers().find("GET /slow") != std::string::npos);
    CHECK(thrown([&] { duck->begin_job("too late"); }).status() == LAMEDUCK_DRAINING);
    std::this_thread::sleep_for(200ms); // the second half of the window
    CHECK(slow->head());
    CHECK(slow->try_head().status() == LAMEDUCK_HEADERS_ALREADY_SENT);
    CHECK(connection->try_begin().status() == LAMEDUCK_NOT_PROCESSED);
    CHECK(thrown([&] { connection->begin(); }).status() == LAMEDUCK_NOT_PROCESSED);
    *slow = std::move(*slow);
    slow->end();
    try {
        lameduck::job ended = std::move(job);
        throw 1;
    } catch (int) {
        CHECK(!job.cancelled());
    }
    if (drive == lameduck::drive::loop) {
        while (code < 0) {
            pollfd question = { duck->descriptor(), POLLIN, 0 };
            CHECK(poll(&question, 1, 10'000) == 1);
            duck->dispatch();
        }
    }
    CHECK(duck->wait() == 1 && duck->wait_for(1ms) == 1); // the hooks and the job that failed
    while (code < 0) std::this_thread::yield();
    later.join();
    std::string report = duck->report();
    for (const char *said : { "the pool is stuck", "no queue", "it was dropped without a word", "\"cause\":\"terminate\"", "\"completed\":1",
                              "\"jobs\":{\"completed\":0,\"failed\":1" })
        CHECK(report.find(said) != std::string::npos);
    CHECK(report.find("it returned") == std::string::npos);
    CHECK(code == 1 && ran == 111 && duck->metrics().faults == 0);
    CHECK(phases == (std::vector<lameduck::phase>{ lameduck::phase::draining, lameduck::phase::closing, lameduck::phase::done }));
    lameduck::connection stale = std::move(*connection);
    duck.reset();
    CHECK(stale.try_begin().status() != LAMEDUCK_OK);
    CHECK(log.find("announced in vain") != std::string::npos);
    ::close(pair[0]);
    ::close(pair[1]);
}

/** Nobody asks it to stop. */
void a_server_that_is_let_go() {
    lameduck::options options = quick(lameduck::drive::thread);
    options.signals.emplace();
    lameduck::server duck(std::move(options));
    duck.on_close("never run", [kept = std::make_shared<int>(1)] { CHECK(*kept == 2); });
    CHECK(!duck.wait_for(1ms));
    lameduck::server other(quick(lameduck::drive::thread));
    other = std::move(duck);
    auto connection = other.try_open(-1);
    CHECK(connection && connection->handle() != 0);
    auto request = connection->try_begin();
    lameduck::connection moved = std::move(*connection);
    CHECK(connection->handle() == 0 && connection->try_begin().status() != LAMEDUCK_OK && moved.begin().handle() == LAMEDUCK_REQUEST_COUNTED);
    CHECK(request.value().try_end() == LAMEDUCK_OK);
    CHECK(thrown([&] { (void)lameduck::result<bool>(LAMEDUCK_DONE).value(); }).status() == LAMEDUCK_DONE);
}

void what_is_refused() {
    lameduck::options options = quick(lameduck::drive::thread);
    options.policy.window = 20s;
    options.policy.grace = 10s;
    lameduck::error error = thrown([&] { lameduck::server duck(options); });
    CHECK(error.status() == LAMEDUCK_CONTRADICTION && std::string_view(error.what()).find("window 20s") != std::string_view::npos);
    options.policy.window = -1s;
    error = thrown([&] { lameduck::server duck(options); });
    CHECK(error.status() == LAMEDUCK_UNKNOWN_VALUE && std::string_view(error.what()).find("window is negative") != std::string_view::npos);
    options.policy = {};
    options.policy.grace = lameduck::unlimited;
    options.policy.environment = { "LAMEDUCK_WINDOW=1.5" };
    CHECK(options.policy.describe().find("window 1.5s") != std::string::npos);
}

/** The decisions alone, on a clock of its own. */
void a_machine() {
    lameduck::policy policy;
    policy.grace = 10s;
    policy.environment.emplace();
    lameduck::machine machine(policy);
    CHECK(!machine.next_wake() && !machine.deadline());
    lameduck_event event = {};
    event.type = LAMEDUCK_EVENT_TYPE_SHUTDOWN;
    event.cause = LAMEDUCK_CAUSE_TERMINATE;
    CHECK(machine.handle(event, 1s) == LAMEDUCK_OK);
    CHECK(machine.deadline() == 10s); // t0 1 s + grace 10 s - margin 1 s
    std::optional<int> code;
    for (lameduck::duration now = 1s; !code; now = machine.next_wake().value_or(now)) {
        machine.tick(now);
        while (auto effect = machine.poll_effect())
            if (effect->type == LAMEDUCK_EFFECT_TYPE_EXIT) code = effect->code;
    }
    CHECK(code == 0 && machine.phase() == lameduck::phase::done && machine.report(20s).find("\"terminate\"") != std::string::npos);
    lameduck::machine other;
    other = std::move(machine);
    CHECK(other.phase() == lameduck::phase::done && machine.handle(event, 1s) == LAMEDUCK_NULL_POINTER);
}

std::atomic<int> handled{0};

/** A server with a handler of its own gets its signal when the window is over. */
void a_hold() {
    std::signal(SIGTERM, [](int) { handled += 1; });
    lameduck::hold hold(quick(lameduck::drive::thread));
    hold.accepted();
    CHECK(!hold.announcing(7) && hold.phase() == lameduck::phase::serving);
    hold.shutdown(lameduck::cause::terminate);
    CHECK(!hold.handed_over());
    while (handled == 0) std::this_thread::sleep_for(1ms);
    CHECK(hold.handed_over() && hold.announcing(7));
    hold.server_stopped();
    while (hold.phase() != lameduck::phase::done) std::this_thread::sleep_for(1ms);
    CHECK(hold.report().find("\"terminate\"") != std::string::npos);
    std::signal(SIGTERM, SIG_DFL);
}

} // namespace

int main() {
    what_is_refused();
    a_machine();
    a_server_that_is_let_go();
    a_whole_shutdown(lameduck::drive::thread);
    a_whole_shutdown(lameduck::drive::loop);
    a_hold();
    std::size_t objects = 1;
    CHECK(lameduck_objects(&objects) == LAMEDUCK_OK && objects == 0);
    std::puts("face: ok");
}
