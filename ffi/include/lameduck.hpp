/* lameduck for C++17: lameduck.h with owners, exceptions and std::chrono. Header-only. MIT or Apache-2.0.
 *
 *     lameduck::options options;
 *     options.policy.window = 2s;
 *     lameduck::server duck(std::move(options));              // after listen()
 *     duck.add_listener(listening);
 *     duck.on_close("database", [&] { pool.shut_down(); });   // what it throws is in the report
 *
 *     lameduck::connection connection = duck.open(socket);    // its end tells lameduck that it closed
 *     if (auto request = connection.try_begin()) {            // some nanoseconds
 *         bool close = request->head();                       // Connection: close?
 *         ...
 *         request->end();                                     // the last byte has left
 *     }                                                       // otherwise: do not process it, close
 *
 *     return duck.wait();
 *
 * Errors     lameduck::error, with the status. What is called all the time also has a form that never throws, try_*: a
 *            lameduck::result, which holds a value or a status.
 * Ownership  Every class is the only owner of what it names: it can be moved, not copied. What was moved from owns nothing, and calls
 *            with it are refused (LAMEDUCK_NULL_POINTER, LAMEDUCK_INVALID_HANDLE, LAMEDUCK_UNKNOWN_CONNECTION); none
 *            crashes. Connections, requests and jobs may outlive their server; they are refused then.
 * Threads    As in lameduck.h: any. An object that is being moved or destroyed must not be in use elsewhere.
 * Time       std::chrono::nanoseconds, so that 2s or 500ms can be given. lameduck::unlimited is no limit.
 */

#ifndef LAMEDUCK_HPP
#define LAMEDUCK_HPP

#include "lameduck.h"
#include "lameduck_inline.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lameduck {

using duration = std::chrono::nanoseconds;

/** No limit, where one can be given. */
inline constexpr duration unlimited = duration::max();

using status = lameduck_status;

/** Where a server stands, see lameduck_phase. */
enum class phase : std::uint32_t {
    serving = LAMEDUCK_PHASE_SERVING,
    draining = LAMEDUCK_PHASE_DRAINING,
    closing = LAMEDUCK_PHASE_CLOSING,
    done = LAMEDUCK_PHASE_DONE,
};

/** See lameduck_level. */
enum class level : std::uint32_t { info = LAMEDUCK_LEVEL_INFO, warn = LAMEDUCK_LEVEL_WARN };

/** See lameduck_protocol. */
enum class protocol : std::uint32_t {
    http1 = LAMEDUCK_PROTOCOL_HTTP1,
    http2 = LAMEDUCK_PROTOCOL_HTTP2,
    websocket = LAMEDUCK_PROTOCOL_WEBSOCKET,
    tunnel = LAMEDUCK_PROTOCOL_TUNNEL,
    other = LAMEDUCK_PROTOCOL_OTHER,
};

/** See lameduck_request_kind. */
enum class request_kind : std::uint32_t {
    ordinary = LAMEDUCK_REQUEST_KIND_ORDINARY,
    stream = LAMEDUCK_REQUEST_KIND_STREAM,
    long_poll = LAMEDUCK_REQUEST_KIND_LONG_POLL,
    upload = LAMEDUCK_REQUEST_KIND_UPLOAD,
};

/** See lameduck_outcome. */
enum class outcome : std::uint32_t {
    completed = LAMEDUCK_OUTCOME_COMPLETED,
    client_gone = LAMEDUCK_OUTCOME_CLIENT_GONE,
    refused = LAMEDUCK_OUTCOME_REFUSED,
    ended = LAMEDUCK_OUTCOME_ENDED,
};

/** See lameduck_cause. */
enum class cause : std::uint32_t {
    programmatic = LAMEDUCK_CAUSE_PROGRAMMATIC,
    peer_message = LAMEDUCK_CAUSE_PEER_MESSAGE,
    parent_gone = LAMEDUCK_CAUSE_PARENT_GONE,
    terminate = LAMEDUCK_CAUSE_TERMINATE,
    interrupt = LAMEDUCK_CAUSE_INTERRUPT,
    uncaught_exception = LAMEDUCK_CAUSE_UNCAUGHT_EXCEPTION,
    unhandled_rejection = LAMEDUCK_CAUSE_UNHANDLED_REJECTION,
};

/** See lameduck_job_source. */
enum class job_source : std::uint32_t {
    background = LAMEDUCK_JOB_SOURCE_BACKGROUND,
    request = LAMEDUCK_JOB_SOURCE_REQUEST,
};

/** See lameduck_on_drain. */
enum class on_drain : std::uint32_t { wait = LAMEDUCK_ON_DRAIN_WAIT, cancel = LAMEDUCK_ON_DRAIN_CANCEL };

/** See lameduck_job_outcome. */
enum class job_outcome : std::uint32_t {
    completed = LAMEDUCK_JOB_OUTCOME_COMPLETED,
    failed = LAMEDUCK_JOB_OUTCOME_FAILED,
    aborted = LAMEDUCK_JOB_OUTCOME_ABORTED,
};

/** See lameduck_new_requests. */
enum class new_requests : std::uint32_t {
    unset = LAMEDUCK_NEW_REQUESTS_UNSET,
    serve = LAMEDUCK_NEW_REQUESTS_SERVE,
    refuse = LAMEDUCK_NEW_REQUESTS_REFUSE,
};

/** See lameduck_readiness. */
enum class readiness : std::uint32_t {
    unset = LAMEDUCK_READINESS_UNSET,
    fail = LAMEDUCK_READINESS_FAIL,
    keep = LAMEDUCK_READINESS_KEEP,
};

/** See lameduck_drive. */
enum class drive : std::uint32_t { thread = LAMEDUCK_DRIVE_THREAD, loop = LAMEDUCK_DRIVE_LOOP };

/** See lameduck_fencing. */
enum class fencing : std::uint32_t {
    automatic = LAMEDUCK_FENCING_AUTO,
    always = LAMEDUCK_FENCING_ALWAYS,
    never = LAMEDUCK_FENCING_NEVER,
    siblings = LAMEDUCK_FENCING_SIBLINGS,
};

/** What was refused; what() says why, and what to do. Nothing has changed. */
class error : public std::runtime_error {
public:
    error(lameduck::status status, const std::string &sentence) : std::runtime_error(sentence), status_(status) {}

    lameduck::status status() const noexcept { return status_; }

private:
    lameduck::status status_;
};

/** A value, or the status of the call that refused it. */
template <typename T>
class [[nodiscard]] result {
public:
    result(T value) noexcept : status_(LAMEDUCK_OK), value_(std::move(value)) {}

    /** `status` is not LAMEDUCK_OK. */
    result(lameduck::status status) noexcept : status_(status) {}

    explicit operator bool() const noexcept { return value_.has_value(); }
    bool has_value() const noexcept { return value_.has_value(); }

    /** LAMEDUCK_OK if there is a value. */
    lameduck::status status() const noexcept { return status_; }

    /** The value, which must be there. */
    T &operator*() & noexcept { return *value_; }
    const T &operator*() const & noexcept { return *value_; }
    T &&operator*() && noexcept { return *std::move(value_); }
    T *operator->() noexcept { return &*value_; }
    const T *operator->() const noexcept { return &*value_; }

    /** The value, or this one. */
    T value_or(T other) const & { return value_ ? *value_ : std::move(other); }

    /** The value; throws lameduck::error when there is none. */
    T &value() & { return check(), *value_; }
    T &&value() && { return check(), *std::move(value_); }

private:
    void check() const {
        if (!value_) throw error(status_, lameduck_strerror(status_));
    }

    lameduck::status status_;
    std::optional<T> value_;
};

/** Not for users. */
namespace detail {

inline void check(status status) {
    if (status != LAMEDUCK_OK) throw error(status, lameduck_last_error());
}

inline std::uint64_t nanoseconds(std::optional<duration> time, const char *name) {
    if (!time) return LAMEDUCK_UNSET;
    if (*time == unlimited) return LAMEDUCK_UNLIMITED;
    if (*time < duration::zero())
        throw error(LAMEDUCK_UNKNOWN_VALUE, std::string(name) + " is negative (" + std::to_string(time->count()) + " ns): a time is 0 or more");
    return static_cast<std::uint64_t>(time->count());
}

/** A number of lameduck's that belongs to one owner. */
template <typename Number>
class owned {
public:
    explicit owned(Number number = Number()) noexcept : number_(number) {}
    owned(owned &&other) noexcept : number_(std::exchange(other.number_, Number())) {}
    owned &operator=(owned &&other) noexcept {
        number_ = std::exchange(other.number_, Number());
        return *this;
    }
    operator Number() const noexcept { return number_; }

private:
    Number number_;
};

/** A string that grows until it holds what a function of lameduck.h writes. */
template <typename Write>
std::string text(Write write) {
    std::string text;
    for (std::size_t room = 4096;; room *= 2) {
        text.resize(room);
        std::size_t length = 0;
        status status = write(text.data(), text.size(), &length);
        if (status == LAMEDUCK_BUFFER_TOO_SMALL) continue;
        check(status);
        text.resize(length);
        return text;
    }
}

/**
 * What hooks are to run, by number: C keeps the number. A hook may run on a thread of its own while its server is being destroyed; then
 * it finds itself here, or it finds nothing.
 */
class hooks {
public:
    using run = std::function<int(std::uint64_t hook)>;

    static std::uintptr_t add(run run) {
        hooks &all = instance();
        std::lock_guard<std::mutex> lock(all.mutex_);
        all.known_.emplace(++all.last_, std::move(run));
        return all.last_;
    }

    static run take(std::uintptr_t number) {
        hooks &all = instance();
        std::lock_guard<std::mutex> lock(all.mutex_);
        auto found = all.known_.find(number);
        if (found == all.known_.end()) return nullptr;
        run taken = std::move(found->second);
        all.known_.erase(found);
        return taken;
    }

private:
    /** Never destroyed: a thread may come late. */
    static hooks &instance() {
        static hooks *const all = new hooks;
        return *all;
    }

    std::mutex mutex_;
    std::uintptr_t last_ = 0;
    std::unordered_map<std::uintptr_t, run> known_;
};

inline int run_hook(void *number, std::uint64_t hook) {
    hooks::run run = hooks::take(reinterpret_cast<std::uintptr_t>(number));
    return run ? run(hook) : 0;
}

/** Says what is being thrown. Called in a catch. */
inline std::string thrown() noexcept {
    try {
        throw;
    } catch (const std::exception &exception) {
        return exception.what();
    } catch (...) {
        return "it threw what is no std::exception";
    }
}

} // namespace detail

/** What the operator decides, see lameduck_policy. What is not set shrinks to fit the grace. */
struct policy {
    /** Default 30 s. May be unlimited. */
    std::optional<duration> grace;
    std::optional<duration> margin;
    std::optional<duration> reserve;
    std::optional<duration> window;
    std::optional<duration> settle;
    std::optional<duration> quiet;
    std::optional<duration> abort_lead;
    std::optional<duration> window_idle;
    std::optional<std::uint64_t> seed;
    bool interactive = false;
    bool development = false;
    lameduck::new_requests new_requests = lameduck::new_requests::unset;
    lameduck::readiness readiness = lameduck::readiness::unset;
    /** Strings `NAME=value` instead of the process's variables. */
    std::optional<std::vector<std::string>> environment;

    /** Calls `use` with this as C has it, which lives as long as the call. */
    template <typename Use>
    auto with_c(Use use) const {
        lameduck_policy c;
        detail::check(lameduck_policy_init(&c, sizeof c));
        c.grace_ns = detail::nanoseconds(grace, "grace");
        c.margin_ns = detail::nanoseconds(margin, "margin");
        c.reserve_ns = detail::nanoseconds(reserve, "reserve");
        c.window_ns = detail::nanoseconds(window, "window");
        c.settle_ns = detail::nanoseconds(settle, "settle");
        c.quiet_ns = detail::nanoseconds(quiet, "quiet");
        c.abort_lead_ns = detail::nanoseconds(abort_lead, "abort_lead");
        c.window_idle_ns = detail::nanoseconds(window_idle, "window_idle");
        c.seeded = seed.has_value();
        c.seed = seed.value_or(0);
        c.interactive = interactive;
        c.development = development;
        c.new_requests = static_cast<lameduck_new_requests>(new_requests);
        c.readiness = static_cast<lameduck_readiness>(readiness);
        std::vector<const char *> variables;
        if (environment) {
            for (const std::string &variable : *environment) variables.push_back(variable.c_str());
            variables.push_back(nullptr);
            c.environment = variables.data();
        }
        return use(c);
    }

    /** Each time and where it comes from, as one line. Throws what is wrong with it. */
    std::string describe() const {
        return with_c([](const lameduck_policy &policy) {
            return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
                return lameduck_policy_describe(&policy, buffer, capacity, length);
            });
        });
    }
};

/**
 * What the server does when lameduck says so, see lameduck_callbacks; each may be empty. What one throws goes to `log`, and the
 * shutdown goes on.
 */
struct callbacks {
    std::function<void(std::uint64_t connection, void *context)> announce_close;
    std::function<void(std::uint64_t connection, void *context)> refuse_streams;
    std::function<void(std::uint64_t connection, std::uint64_t request, void *context)> notify_long_lived;
    std::function<void(std::uint64_t connection, std::uint64_t request, void *context)> close_long_lived;
    std::function<void(std::uint64_t connection, void *context)> close_idle;
    std::function<void(std::uint64_t connection, std::uint32_t unanswered, void *context)> force_connection;
    std::function<void(std::uint64_t listener, int descriptor)> close_listener;
    std::function<void()> abort_requests;
    std::function<void(std::uint64_t job)> cancel_job;
    std::function<void(bool ready)> readiness;
    std::function<void(lameduck::phase phase)> phase;
    std::function<void(lameduck::level level, const char *line)> log;
    std::function<void(int code)> done;
};

/** How a server is started, see lameduck_options. */
struct options {
    lameduck::policy policy;
    lameduck::drive drive = lameduck::drive::thread;
    bool shared_listeners = false;
    /** Not set: SIGTERM and SIGINT. Empty: none. */
    std::optional<std::vector<int>> signals;
    int watchdog_descriptor = 2;
    /** Empty: none. */
    std::string report_file;
    lameduck::callbacks callbacks;
};

namespace detail {

/** Calls the user's functions from C's; lets no exception out. */
class callers {
public:
    static lameduck_callbacks c(const callbacks &of) {
        lameduck_callbacks c = {};
        c.announce_close = caller<&callbacks::announce_close>(of.announce_close);
        c.refuse_streams = caller<&callbacks::refuse_streams>(of.refuse_streams);
        c.notify_long_lived = caller<&callbacks::notify_long_lived>(of.notify_long_lived);
        c.close_long_lived = caller<&callbacks::close_long_lived>(of.close_long_lived);
        c.close_idle = caller<&callbacks::close_idle>(of.close_idle);
        c.force_connection = caller<&callbacks::force_connection>(of.force_connection);
        c.close_listener = caller<&callbacks::close_listener>(of.close_listener);
        c.abort_requests = caller<&callbacks::abort_requests>(of.abort_requests);
        c.cancel_job = caller<&callbacks::cancel_job>(of.cancel_job);
        c.readiness = caller<&callbacks::readiness>(of.readiness);
        if (of.phase) c.phase = [](void *data, lameduck_phase at) { call<&callbacks::phase>(data, static_cast<phase>(at)); };
        if (of.log) {
            c.log = [](void *data, lameduck_level at, const char *line) { call<&callbacks::log>(data, static_cast<level>(at), line); };
        }
        c.done = caller<&callbacks::done>(of.done);
        return c;
    }

private:
    template <auto Member, typename... Arguments>
    static void call(void *data, Arguments... arguments) noexcept {
        const callbacks &of = *static_cast<const callbacks *>(data);
        try {
            (of.*Member)(arguments...);
        } catch (...) {
            complain(of, "a callback threw, and what it was to do may be undone: " + thrown());
        }
    }

    static void complain(const callbacks &of, const std::string &sentence) noexcept {
        try {
            if (of.log) return of.log(level::warn, sentence.c_str());
        } catch (...) {
            // Then standard error.
        }
        std::fprintf(stderr, "lameduck: %s\n", sentence.c_str());
    }

    /** C's function for one of these, or NULL. */
    template <auto Member, typename... Arguments>
    static auto caller(const std::function<void(Arguments...)> &function) -> void (*)(void *, Arguments...) {
        if (!function) return nullptr;
        return [](void *data, Arguments... arguments) { call<Member>(data, arguments...); };
    }
};

/** Calls `use` with the options as C has them. `given` must live as long as what is started. */
template <typename Use>
void with_c(const options &given, Use use) {
    given.policy.with_c([&](const lameduck_policy &policy) {
        lameduck_options c;
        check(lameduck_options_init(&c, sizeof c));
        c.policy = &policy;
        c.drive = static_cast<lameduck_drive>(given.drive);
        c.shared_listeners = given.shared_listeners;
        int none = 0;
        if (given.signals) {
            c.signals = given.signals->empty() ? &none : given.signals->data();
            c.signal_count = given.signals->size();
        }
        c.watchdog_descriptor = given.watchdog_descriptor;
        c.report_file = given.report_file.empty() ? nullptr : given.report_file.c_str();
        c.callbacks = callers::c(given.callbacks);
        c.user_data = const_cast<callbacks *>(&given.callbacks);
        check(use(&c));
    });
}

} // namespace detail

/** A request. Its end without end() means that its client has gone. */
class request {
public:
    request(request &&) noexcept = default;
    request &operator=(request &&other) noexcept {
        if (this != &other) {
            (void)try_end(outcome::client_gone);
            server_ = std::move(other.server_);
            connection_ = other.connection_;
            word_ = other.word_;
            token_ = other.token_;
        }
        return *this;
    }
    ~request() { (void)try_end(outcome::client_gone); }

    /** The head of the response is about to be written, see lameduck_response_head: whether it is to say `Connection: close`. */
    bool head(bool closes = false) {
        bool announce = false;
        detail::check(lameduck_response_head(server_, connection_, token_, closes, &announce));
        return announce;
    }

    /** As head(). */
    result<bool> try_head(bool closes = false) noexcept {
        bool announce = false;
        status status = lameduck_response_head(server_, connection_, token_, closes, &announce);
        if (status != LAMEDUCK_OK) return status;
        return announce;
    }

    /** Every byte of the response has left for the kernel, see lameduck_request_end. */
    void end(outcome outcome = outcome::completed) {
        lameduck_server *server = std::exchange(server_, detail::owned<lameduck_server *>());
        detail::check(lameduck_request_end_inline(server, connection_, word_, token_, static_cast<lameduck_outcome>(outcome)));
    }

    /** As end(). That it was forced meanwhile (LAMEDUCK_UNKNOWN_CONNECTION, LAMEDUCK_UNKNOWN_REQUEST …) is an ordinary race. */
    status try_end(outcome outcome = outcome::completed) noexcept {
        lameduck_server *server = std::exchange(server_, detail::owned<lameduck_server *>());
        if (server == nullptr) return LAMEDUCK_NULL_POINTER;
        return lameduck_request_end_inline(server, connection_, word_, token_, static_cast<lameduck_outcome>(outcome));
    }

    /** What it is, for its allowance and the report, see lameduck_request_describe. */
    void describe(request_kind kind, const std::string &label) {
        detail::check(lameduck_request_describe(server_, connection_, &token_, static_cast<lameduck_request_kind>(kind), label.c_str()));
    }

    /** The request's handle, for lameduck.h and the callbacks. */
    std::uint64_t handle() const noexcept { return token_; }

private:
    friend class connection;
    request(lameduck_server *server, std::uint64_t connection, std::uint64_t *word, std::uint64_t token) noexcept
        : server_(server), connection_(connection), word_(word), token_(token) {}

    detail::owned<lameduck_server *> server_;
    std::uint64_t connection_;
    std::uint64_t *word_;
    std::uint64_t token_;
};

/** A connection. Destroy it before you close its descriptor: that tells lameduck. */
class connection {
public:
    connection(connection &&) noexcept = default;
    connection &operator=(connection &&other) noexcept {
        if (this != &other) {
            close();
            server_ = std::move(other.server_);
            handle_ = std::move(other.handle_);
            word_ = std::move(other.word_);
        }
        return *this;
    }
    ~connection() { close(); }

    /**
     * A request's head was parsed, see lameduck_request_begin. LAMEDUCK_REFUSE_REQUEST: answer 503 and close.
     * LAMEDUCK_NOT_PROCESSED: close.
     */
    result<request> try_begin() noexcept {
        std::uint64_t token = 0;
        status status = lameduck_request_begin_inline(server_, handle_, word_, &token);
        if (status != LAMEDUCK_OK) return status;
        return request(server_, handle_, word_, token);
    }

    /** As try_begin(). */
    request begin() {
        std::uint64_t token = 0;
        detail::check(lameduck_request_begin_inline(server_, handle_, word_, &token));
        return request(server_, handle_, word_, token);
    }

    /** Who is at the other end, for the report. */
    void describe(const std::string &peer) { detail::check(lameduck_connection_describe(server_, handle_, peer.c_str())); }

    /** It speaks another protocol from now on. */
    void upgrade(protocol to) { detail::check(lameduck_connection_upgrade(server_, handle_, static_cast<lameduck_protocol>(to))); }

    /** `close_idle` found bytes of a next request in a buffer of yours. False: its time is over, close it nevertheless. */
    bool busy() noexcept { return lameduck_connection_busy(server_, handle_) == LAMEDUCK_OK; }

    /** It is gone; call it before you close the descriptor. Again it does nothing. */
    void close() noexcept {
        if (handle_ != 0) (void)lameduck_connection_close(server_, handle_);
        handle_ = detail::owned<std::uint64_t>();
    }

    /** The connection's handle, for lameduck.h and the callbacks. 0: it is closed. */
    std::uint64_t handle() const noexcept { return handle_; }

private:
    friend class server;
    connection(lameduck_server *server, std::uint64_t handle) noexcept : server_(server), handle_(handle) {
        std::uint64_t *word = nullptr;
        if (lameduck_connection_word(server, handle, &word) == LAMEDUCK_OK) word_ = detail::owned<std::uint64_t *>(word);
    }

    detail::owned<lameduck_server *> server_;
    detail::owned<std::uint64_t> handle_;
    /** Where its requests are counted, without a call: see lameduck_inline.h. */
    detail::owned<std::uint64_t *> word_;
};

/** Work beside the requests. Its end without end() means completed; by an exception, failed. */
class job {
public:
    job(job &&) noexcept = default;
    job &operator=(job &&other) noexcept {
        if (this != &other) {
            leave();
            server_ = std::move(other.server_);
            handle_ = std::move(other.handle_);
            exceptions_ = other.exceptions_;
        }
        return *this;
    }
    ~job() { leave(); }

    /** Whether it should give up. */
    bool cancelled() const noexcept {
        bool cancelled = false;
        (void)lameduck_job_cancelled(server_, handle_, &cancelled);
        return cancelled;
    }

    void end(job_outcome outcome = job_outcome::completed) {
        std::uint64_t handle = std::exchange(handle_, detail::owned<std::uint64_t>());
        detail::check(lameduck_job_end(server_, handle, static_cast<lameduck_job_outcome>(outcome)));
    }

    /** The job's handle, as `cancel_job` gets it. */
    std::uint64_t handle() const noexcept { return handle_; }

private:
    friend class server;
    job(lameduck_server *server, std::uint64_t handle) noexcept : server_(server), handle_(handle), exceptions_(std::uncaught_exceptions()) {}

    void leave() noexcept {
        std::uint64_t handle = std::exchange(handle_, detail::owned<std::uint64_t>());
        if (handle == 0) return;
        bool thrown = std::uncaught_exceptions() > exceptions_;
        (void)lameduck_job_end(server_, handle, thrown ? LAMEDUCK_JOB_OUTCOME_FAILED : LAMEDUCK_JOB_OUTCOME_COMPLETED);
    }

    detail::owned<lameduck_server *> server_;
    detail::owned<std::uint64_t> handle_;
    int exceptions_;
};

/** A hook that goes on after it has returned. Its end without a word is a failure. */
class pending_hook {
public:
    pending_hook(pending_hook &&) noexcept = default;
    pending_hook &operator=(pending_hook &&) = delete;
    ~pending_hook() {
        // By an exception: what that says is worth more, and whoever ran the hook says it.
        if (std::uncaught_exceptions() <= exceptions_) say("it was dropped without a word");
    }

    void succeeded() noexcept { say(nullptr); }
    void failed(const std::string &error) noexcept { say(error.c_str()); }

private:
    friend class server;
    pending_hook(lameduck_server *server, std::uint64_t hook) noexcept
        : server_(server), hook_(hook), exceptions_(std::uncaught_exceptions()) {}

    void say(const char *error) noexcept {
        lameduck_server *server = std::exchange(server_, detail::owned<lameduck_server *>());
        // Refused when its time was over: that is in the report already.
        if (server != nullptr) (void)lameduck_hook_finished(server, hook_, error);
    }

    detail::owned<lameduck_server *> server_;
    std::uint64_t hook_;
    int exceptions_;
};

/** When and how long a hook may run, see lameduck_hook_add. */
struct hook_options {
    /** Lower first, equal ones together. */
    std::int32_t order = 0;
    /** Not set: until its stage ends. */
    std::optional<duration> timeout;
};

/**
 * A server that lameduck stops, see lameduck_start: keep it until the process ends. Do not destroy it in one of its callbacks or
 * hooks.
 */
class server {
public:
    explicit server(lameduck::options options = {}) : options_(std::make_unique<lameduck::options>(std::move(options))) {
        detail::with_c(*options_, [&](const lameduck_options *c) { return lameduck_start(c, &server_); });
    }

    server(server &&other) noexcept
        : options_(std::move(other.options_)), hooks_(std::move(other.hooks_)), server_(std::exchange(other.server_, nullptr)) {}

    server &operator=(server &&other) noexcept {
        if (this != &other) {
            free();
            options_ = std::move(other.options_);
            hooks_ = std::move(other.hooks_);
            server_ = std::exchange(other.server_, nullptr);
        }
        return *this;
    }

    ~server() { free(); }

    /** The server accepts at this listening socket; returns the listener's handle. See lameduck_listener_add. */
    std::uint64_t add_listener(int descriptor) {
        std::uint64_t listener = 0;
        detail::check(lameduck_listener_add(server_, descriptor, &listener));
        return listener;
    }

    void listener_closed(std::uint64_t listener) { detail::check(lameduck_listener_closed(server_, listener)); }

    void listener_failed(std::uint64_t listener, const std::string &error) {
        detail::check(lameduck_listener_failed(server_, listener, error.c_str()));
    }

    /** A connection was accepted, see lameduck_connection_open; -1: without a descriptor. */
    connection open(int descriptor, protocol protocol = protocol::http1, void *context = nullptr) {
        std::uint64_t handle = 0;
        detail::check(lameduck_connection_open(server_, descriptor, static_cast<lameduck_protocol>(protocol), context, &handle));
        return connection(server_, handle);
    }

    /** As open(). */
    result<connection> try_open(int descriptor, protocol protocol = protocol::http1, void *context = nullptr) noexcept {
        std::uint64_t handle = 0;
        status status = lameduck_connection_open(server_, descriptor, static_cast<lameduck_protocol>(protocol), context, &handle);
        if (status != LAMEDUCK_OK) return status;
        return connection(server_, handle);
    }

    /** Work beside the requests begins, see lameduck_job_begin. */
    job begin_job(const std::string &name, job_source source = job_source::background, on_drain on_drain = on_drain::wait) {
        std::uint64_t handle = 0;
        detail::check(lameduck_job_begin(server_, name.c_str(), static_cast<lameduck_job_source>(source),
                                         static_cast<lameduck_on_drain>(on_drain), &handle));
        return job(server_, handle);
    }

    /**
     * A clean-up when draining begins: pause consumers, deregister. It runs on a thread of its own; with drive::loop on the loop, so
     * that it must not block. What it throws is its failure, in the report.
     */
    void on_drain_begin(const std::string &name, std::function<void()> run, hook_options options = {}) {
        add_hook(LAMEDUCK_STAGE_DRAIN, name, std::move(run), options);
    }

    /** A clean-up when every request has its verdict: pools, clients. As on_drain_begin(). */
    void on_close(const std::string &name, std::function<void()> run, hook_options options = {}) {
        add_hook(LAMEDUCK_STAGE_CLOSE, name, std::move(run), options);
    }

    /** A clean-up after those: logs, metrics. As on_drain_begin(). */
    void on_flush(const std::string &name, std::function<void()> run, hook_options options = {}) {
        add_hook(LAMEDUCK_STAGE_FLUSH, name, std::move(run), options);
    }

    /** As on_close(), for what goes on when the function has returned: it keeps the pending_hook and says how it ended. */
    void on_close_later(const std::string &name, std::function<void(pending_hook)> run, hook_options options = {}) {
        add(LAMEDUCK_STAGE_CLOSE, name, options, [server = server_, run = std::move(run)](std::uint64_t hook) {
            try {
                run(pending_hook(server, hook));
            } catch (...) {
                (void)lameduck_hook_finished(server, hook, detail::thrown().c_str());
            }
            return LAMEDUCK_HOOK_LATER;
        });
    }

    /** Asks the server to stop; returns at once. */
    void shutdown(cause cause = cause::programmatic, const std::string &detail = {}) {
        detail::check(lameduck_shutdown(server_, static_cast<lameduck_cause>(cause), detail.empty() ? nullptr : detail.c_str()));
    }

    /** Somebody insists, see lameduck_escalate. */
    void escalate() { detail::check(lameduck_escalate(server_)); }

    /** The orchestrator's budget became longer or shorter, see lameduck_change_grace. */
    void change_grace(duration grace) { detail::check(lameduck_change_grace(server_, detail::nanoseconds(grace, "grace"))); }

    /** Waits until the shutdown is over: with which code the process is to end. */
    int wait() {
        int code = 0;
        detail::check(lameduck_wait(server_, LAMEDUCK_UNLIMITED, &code));
        return code;
    }

    /** As wait(); nothing when time runs out first. */
    std::optional<int> wait_for(duration timeout) {
        int code = 0;
        status status = lameduck_wait(server_, detail::nanoseconds(timeout, "timeout"), &code);
        if (status == LAMEDUCK_TIMED_OUT) return std::nullopt;
        detail::check(status);
        return code;
    }

    /** With drive::loop: poll it for readability, then dispatch(). */
    int descriptor() const {
        int descriptor = -1;
        detail::check(lameduck_descriptor(server_, &descriptor));
        return descriptor;
    }

    void dispatch() { detail::check(lameduck_dispatch(server_)); }

    lameduck::phase phase() const {
        lameduck_phase phase = LAMEDUCK_PHASE_SERVING;
        detail::check(lameduck_server_phase(server_, &phase));
        return static_cast<lameduck::phase>(phase);
    }

    /** What readiness probes are to be answered. Not when this was moved from. */
    bool ready() const noexcept {
        bool ready = false;
        (void)lameduck_ready(server_, &ready);
        return ready;
    }

    /** Whether what is in flight should give up. */
    bool aborting() const noexcept {
        bool aborting = false;
        (void)lameduck_aborting(server_, &aborting);
        return aborting;
    }

    /** The report as it stands: JSON, schema `lameduck-report/1`. */
    std::string report() const {
        return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
            return lameduck_report(server_, buffer, capacity, length);
        });
    }

    /** What shutdown waits for, as JSON. */
    std::string blockers() const {
        return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
            return lameduck_blockers(server_, buffer, capacity, length);
        });
    }

    lameduck_metrics metrics() const {
        lameduck_metrics metrics = {};
        detail::check(lameduck_server_metrics(server_, &metrics));
        return metrics;
    }

    /** For lameduck.h. */
    lameduck_server *handle() const noexcept { return server_; }

private:
    void add_hook(lameduck_stage stage, const std::string &name, std::function<void()> run, hook_options options) {
        add(stage, name, options, [server = server_, run = std::move(run)](std::uint64_t hook) {
            try {
                run();
                return 0;
            } catch (...) {
                (void)lameduck_hook_finished(server, hook, detail::thrown().c_str());
                return LAMEDUCK_HOOK_LATER;
            }
        });
    }

    void add(lameduck_stage stage, const std::string &name, hook_options options, detail::hooks::run run) {
        std::uint64_t timeout = detail::nanoseconds(options.timeout, "timeout");
        hooks_.push_back(detail::hooks::add(std::move(run)));
        status status = lameduck_hook_add(server_, stage, name.c_str(), options.order, timeout, detail::run_hook,
                                          reinterpret_cast<void *>(hooks_.back()), nullptr);
        if (status == LAMEDUCK_OK) return;
        detail::hooks::take(hooks_.back());
        hooks_.pop_back();
        detail::check(status);
    }

    void free() noexcept {
        if (server_ != nullptr) (void)lameduck_free(std::exchange(server_, nullptr));
        for (std::uintptr_t hook : hooks_) detail::hooks::take(hook);
        hooks_.clear();
    }

    /** Behind a pointer: C keeps the address of its callbacks. */
    std::unique_ptr<lameduck::options> options_;
    std::vector<std::uintptr_t> hooks_;
    lameduck_server *server_ = nullptr;
};

/** A window around a server that stays as it is, see lameduck_hold_start. */
class hold {
public:
    explicit hold(lameduck::options options = {}, fencing fencing = fencing::automatic)
        : options_(std::make_unique<lameduck::options>(std::move(options))) {
        detail::with_c(*options_, [&](const lameduck_options *c) {
            return lameduck_hold_start(c, static_cast<lameduck_fencing>(fencing), &hold_);
        });
    }

    hold(hold &&other) noexcept : options_(std::move(other.options_)), hold_(std::exchange(other.hold_, nullptr)) {}
    hold &operator=(hold &&) = delete;
    ~hold() {
        if (hold_ != nullptr) (void)lameduck_hold_free(hold_);
    }

    void shutdown(cause cause = cause::programmatic) { detail::check(lameduck_hold_shutdown(hold_, static_cast<lameduck_cause>(cause))); }

    /** The server has accepted a connection. */
    void accepted() { detail::check(lameduck_hold_accepted(hold_)); }

    /** Whether a response to this peer is to say `Connection: close`; see lameduck_hold_announcing. */
    bool announcing(std::uint64_t peer) const noexcept {
        bool announce = false;
        (void)lameduck_hold_announcing(hold_, peer, &announce);
        return announce;
    }

    /** The server has stopped in its own way. */
    void server_stopped() { detail::check(lameduck_hold_server_stopped(hold_)); }

    bool handed_over() const {
        bool handed_over = false;
        detail::check(lameduck_hold_handed_over(hold_, &handed_over));
        return handed_over;
    }

    lameduck::phase phase() const {
        lameduck_phase phase = LAMEDUCK_PHASE_SERVING;
        detail::check(lameduck_hold_phase(hold_, &phase));
        return static_cast<lameduck::phase>(phase);
    }

    std::string report() const {
        return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
            return lameduck_hold_report(hold_, buffer, capacity, length);
        });
    }

    /** For lameduck.h. */
    lameduck_hold *handle() const noexcept { return hold_; }

private:
    std::unique_ptr<lameduck::options> options_;
    lameduck_hold *hold_ = nullptr;
};

/** The decisions alone, see lameduck_machine: events in, effects out. Times are of a monotonic clock that you chose. */
class machine {
public:
    explicit machine(const policy &policy = {}) {
        policy.with_c([&](const lameduck_policy &c) { detail::check(lameduck_machine_new(&c, &machine_)); });
    }

    machine(machine &&other) noexcept : machine_(std::exchange(other.machine_, nullptr)) {}
    machine &operator=(machine &&other) noexcept {
        if (this != &other) {
            (void)lameduck_machine_free(machine_);
            machine_ = std::exchange(other.machine_, nullptr);
        }
        return *this;
    }
    ~machine() { (void)lameduck_machine_free(machine_); }

    /** Takes an event. Refusals from 100 on may be ordinary races. */
    status handle(const lameduck_event &event, duration now) noexcept { return lameduck_handle(machine_, &event, count(now)); }

    /** The next effect; take all after every event and tick. */
    std::optional<lameduck_effect> poll_effect() {
        lameduck_effect effect = {};
        detail::check(lameduck_poll_effect(machine_, &effect));
        if (effect.type == LAMEDUCK_EFFECT_TYPE_NONE) return std::nullopt;
        return effect;
    }

    /** When it wants to be ticked, if ever. */
    std::optional<duration> next_wake() const {
        std::uint64_t at = LAMEDUCK_UNSET;
        detail::check(lameduck_next_wake_ns(machine_, &at, nullptr));
        return moment(at);
    }

    void tick(duration now) { detail::check(lameduck_tick(machine_, count(now))); }

    lameduck::phase phase() const {
        lameduck_phase phase = LAMEDUCK_PHASE_SERVING;
        detail::check(lameduck_machine_phase(machine_, &phase));
        return static_cast<lameduck::phase>(phase);
    }

    /** T; nothing while serving, `unlimited` when there is none. */
    std::optional<duration> deadline() const {
        std::uint64_t at = LAMEDUCK_UNSET;
        detail::check(lameduck_machine_deadline_ns(machine_, &at));
        return moment(at);
    }

    std::string report(duration now) const {
        return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
            return lameduck_machine_report(machine_, count(now), buffer, capacity, length);
        });
    }

private:
    /** Before the origin is the origin: a time that runs back is ignored in any case. */
    static std::uint64_t count(duration now) noexcept { return now < duration::zero() ? 0 : static_cast<std::uint64_t>(now.count()); }

    static std::optional<duration> moment(std::uint64_t at) noexcept {
        if (at == LAMEDUCK_UNSET) return std::nullopt;
        if (at >= static_cast<std::uint64_t>(unlimited.count())) return unlimited;
        return duration(static_cast<duration::rep>(at));
    }

    lameduck_machine *machine_ = nullptr;
};

} // namespace lameduck

#endif
