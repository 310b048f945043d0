// A server on Boost.Beast, one thread, that lameduck stops.
#include <lameduck.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <unistd.h>

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using namespace std::chrono_literals;

// One connection. Whatever goes on with it keeps it alive; lameduck has its address until `connection_` is closed.
class session : public std::enable_shared_from_this<session> {
public:
    session(tcp::socket socket, lameduck::server &duck)
        : duck_(duck), socket_(std::move(socket)), timer_(socket_.get_executor()),
          connection_(duck.open(socket_.native_handle(), lameduck::protocol::http1, this)) {
        socket_.set_option(tcp::no_delay(true));
    }

    // Bytes are left with the kernel until they are read for good, so that lameduck's last look at the socket sees them: a read that has
    // completed, but not been handled yet, would hide them.
    void wait() {
        arrived_ = false;
        if (buffer_.size() > 0) return read_head();
        socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
            if (!error && !self->lingering_) self->read_head();
        });
    }

    // lameduck: it is idle, as far as it knows.
    void close_idle() {
        // Bytes of a next request are ours already. Unless it takes too long to complete them, it stays.
        if (arrived_ && connection_.busy()) return;
        linger();
    }

    // lameduck: its time is over.
    void force(std::uint32_t unanswered) {
        if (unanswered > 0 && !responding_) {
            static constexpr char late[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            error_code ignored;
            socket_.write_some(asio::buffer(late, sizeof late - 1), ignored);
        }
        linger();
    }

private:
    void read_head() {
        arrived_ = true;
        parser_.emplace();
        parser_->body_limit(1 << 20);
        http::async_read_header(socket_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) { self->head_read(error); });
    }

    void head_read(error_code error) {
        if (error || lingering_) return; // gone, or to be closed
        auto request = connection_.try_begin();
        if (request.status() == LAMEDUCK_REFUSE_REQUEST) {
            return respond(http::status::service_unavailable, {}, true);
        }
        if (!request) return linger(); // it came behind the response that announced the close
        request_.emplace(*std::move(request));
        http::async_read(socket_, buffer_, *parser_, [self = shared_from_this()](error_code failed, std::size_t) {
            if (!failed) self->work(); // otherwise gone, and the request gets that verdict
        });
    }

    // GET /readyz: 200 or 503. GET /slow…: after 300 ms. GET /large: 8 MiB. POST /echo: the body, after 20 ms. Anything else, such as
    // /item/7: its path as text.
    void work() {
        std::string path(parser_->get().target());
        if (path == "/echo") return respond_after(20ms, std::move(parser_->get().body()));
        if (path == "/large") return respond(http::status::ok, std::string(8 << 20, 'x'));
        http::status status = path == "/readyz" && !duck_.ready() ? http::status::service_unavailable : http::status::ok;
        std::string text = path.substr(1);
        std::replace(text.begin(), text.end(), '/', ' ');
        if (path.compare(0, 5, "/slow") == 0) return respond_after(300ms, std::move(text));
        respond(status, std::move(text));
    }

    void respond_after(std::chrono::milliseconds delay, std::string body) {
        timer_.expires_after(delay);
        timer_.async_wait([self = shared_from_this(), body = std::move(body)](error_code error) mutable {
            if (!error) self->respond(http::status::ok, std::move(body));
        });
    }

    void respond(http::status status, std::string body, bool close = false) {
        if (lingering_) return;
        close = close || !parser_->get().keep_alive();
        // Refused when it was forced meanwhile; then nothing follows it.
        if (request_) close = request_->try_head(close).value_or(true);
        response_ = {};
        response_.result(status);
        response_.version(parser_->get().version());
        response_.keep_alive(!close);
        response_.body() = std::move(body);
        response_.prepare_payload();
        responding_ = true;
        http::async_write(socket_, response_, [self = shared_from_this()](error_code error, std::size_t) {
            self->responding_ = false;
            if (error) return; // gone
            // Not earlier: a connection is idle when the last byte has left for the kernel.
            if (self->request_) (void)self->request_->try_end();
            self->request_.reset();
            if (self->response_.need_eof()) self->linger();
            else self->wait();
        });
    }

    // A close that resets nothing: half-close, read until the client has closed too, for a bounded time.
    void linger() {
        if (lingering_) return;
        lingering_ = true;
        error_code ignored;
        socket_.shutdown(tcp::socket::shutdown_send, ignored);
        timer_.expires_after(1s);
        timer_.async_wait([self = shared_from_this()](error_code error) {
            if (!error) self->socket_.cancel();
        });
        discard();
    }

    void discard() {
        socket_.async_read_some(asio::buffer(scrap_), [self = shared_from_this()](error_code error, std::size_t) {
            if (error) self->timer_.cancel();
            else self->discard();
        });
    }

    lameduck::server &duck_;
    tcp::socket socket_;
    asio::steady_timer timer_;
    boost::beast::flat_buffer buffer_;
    std::array<char, 4096> scrap_;
    std::optional<http::request_parser<http::string_body>> parser_;
    http::response<http::string_body> response_;
    bool arrived_ = false; // bytes of a request that has no response yet
    bool responding_ = false;
    bool lingering_ = false;
    // Behind the socket: it ends before the descriptor is closed, which others may get.
    lameduck::connection connection_;
    std::optional<lameduck::request> request_;
};

void accept(tcp::acceptor &acceptor, lameduck::server &duck) {
    acceptor.async_accept([&](error_code error, tcp::socket socket) {
        if (error == asio::error::operation_aborted || !acceptor.is_open()) return;
        if (!error) {
            try {
                std::make_shared<session>(std::move(socket), duck)->wait();
            } catch (const std::exception &refused) {
                std::cerr << "a connection was not taken: " << refused.what() << '\n';
            }
        }
        accept(acceptor, duck);
    });
}

// Lets lameduck call back on this thread whenever it has something to say.
void dispatch(asio::posix::stream_descriptor &told, lameduck::server &duck) {
    told.async_wait(asio::posix::stream_descriptor::wait_read, [&](error_code error) {
        if (error) return;
        duck.dispatch();
        dispatch(told, duck);
    });
}

int main() try {
    const char *port = std::getenv("PORT");
    asio::io_context loop(1);
    tcp::acceptor acceptor(loop, tcp::endpoint(asio::ip::address_v4::loopback(), static_cast<unsigned short>(port ? std::atoi(port) : 3000)));
    int exit_code = 0;
    std::optional<lameduck::server> duck;

    lameduck::options options;
    options.drive = lameduck::drive::loop;
    options.callbacks.close_idle = [](std::uint64_t, void *context) { static_cast<session *>(context)->shared_from_this()->close_idle(); };
    options.callbacks.force_connection = [](std::uint64_t, std::uint32_t unanswered, void *context) {
        static_cast<session *>(context)->shared_from_this()->force(unanswered);
    };
    options.callbacks.close_listener = [&](std::uint64_t listener, int) {
        acceptor.close();
        duck->listener_closed(listener);
    };
    options.callbacks.done = [&](int code) {
        exit_code = code;
        loop.stop();
    };
    duck.emplace(std::move(options));
    duck->add_listener(acceptor.native_handle());
    duck->on_close("database", [] { std::cerr << "the database is closed\n"; }); // where yours is; not before the last request has its answer

    asio::posix::stream_descriptor told(loop, dup(duck->descriptor())); // Asio closes what it was given
    dispatch(told, *duck);
    accept(acceptor, *duck);
    loop.run();
    return exit_code;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
