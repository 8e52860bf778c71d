// One libuv loop on one thread, with a way in from other threads and timers. Everything in it but `Mailbox` belongs to the
// thread that runs it, and is not Sendable, so that the compiler keeps other threads out.

internal import CUV
internal import Primitives
internal import Synchronization

/// A loop's wake-up call. `@unchecked Sendable` holds because the only thing done with the pointer is `uv_async_send`, which
/// libuv allows from any thread, and only under the mailbox's lock, which forgets it before the loop frees the handle.
private struct WakeUp: @unchecked Sendable {
    let handle: UnsafeMutablePointer<uv_async_t>

    func send() { uv_async_send(handle) }
}

/// The one part of a loop that other threads touch: work goes in under a lock, and `uv_async_send` (thread-safe by its
/// contract) wakes the loop when the box was empty.
final class Mailbox<Work: Sendable>: Sendable {
    private struct State {
        var work: [Work] = []
        var isClosed = false
        var wake: WakeUp?
    }

    private let state = Mutex(State())
    private let countMax: Int

    init(countMax: Int) { self.countMax = countMax }

    /// - Returns: false when the loop is gone or the box is full.
    func put(_ item: Work) -> Bool {
        state.withLock { state in
            guard !state.isClosed, state.work.count < countMax else { return false }
            state.work.append(item)
            // Under the lock, so that `close` cannot free the handle meanwhile.
            if state.work.count == 1 { state.wake?.send() }
            return true
        }
    }

    func open(wake: UnsafeMutablePointer<uv_async_t>) {
        let wake = WakeUp(handle: wake)
        state.withLock { state in
            state.wake = wake
            if !state.work.isEmpty { wake.send() }
        }
    }

    func takeAll() -> [Work] {
        state.withLock { state in
            let taken = state.work
            state.work = []
            return taken
        }
    }

    func close() {
        state.withLock { state in
            state.isClosed = true
            state.wake = nil
            state.work = []
        }
    }
}

final class EventLoop {
    let raw: UnsafeMutablePointer<uv_loop_t>
    /// Shared by all sockets of the loop: what is read is copied out in the same callback.
    let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 128 * 1024, alignment: 64)
    private let wake: UnsafeMutablePointer<uv_async_t>
    private let timer: UnsafeMutablePointer<uv_timer_t>
    private var timers = TimerQueue()
    private var onWake: () -> Void = {}
    private var isClosing = false

    init() throws(TransportFault) {
        raw = .allocate(capacity: 1)
        wake = .allocate(capacity: 1)
        timer = .allocate(capacity: 1)
        let code = uv_loop_init(raw)
        guard code == 0 else { throw TransportFault("start an event loop", code) }
        let asyncCode = uv_async_init(raw, wake) { handle in
            EventLoop.from(handle?.pointee.data)?.onWake()
        }
        guard asyncCode == 0 else { throw TransportFault("start an event loop", asyncCode) }
        uv_timer_init(raw, timer)
        // The pointers back are borrowed: the loop outlives its handles, which `run` waits for.
        let me = Unmanaged.passUnretained(self).toOpaque()
        wake.pointee.data = me
        timer.pointee.data = me
    }

    deinit {
        readBuffer.deallocate()
        wake.deallocate()
        timer.deallocate()
        raw.deallocate()
    }

    private static func from(_ data: UnsafeMutableRawPointer?) -> EventLoop? {
        data.map { Unmanaged<EventLoop>.fromOpaque($0).takeUnretainedValue() }
    }

    var now: Instant { Instant(nanoseconds: uv_hrtime()) }

    /// - Parameter onWake: called on the loop after something was put into the mailbox.
    func attach<Work>(_ mailbox: Mailbox<Work>, onWake: @escaping () -> Void) {
        self.onWake = onWake
        mailbox.open(wake: wake)
    }

    /// Runs until `close` was called and every handle is closed.
    func run() {
        uv_run(raw, UV_RUN_DEFAULT)
        uv_loop_close(raw)
    }

    /// Closes every handle; `run` returns when that is done.
    func close() {
        guard !isClosing else { return }
        isClosing = true
        onWake = {}
        timers = TimerQueue()
        uv_walk(
            raw,
            { handle, _ in
                guard let handle, handle.pointee.type == UV_TCP else { return }
                TCPChannel.from(handle.pointee.data)?.close()
            }, nil)
        uv_close(UnsafeMutableRawPointer(wake).assumingMemoryBound(to: uv_handle_t.self), nil)
        uv_close(UnsafeMutableRawPointer(timer).assumingMemoryBound(to: uv_handle_t.self), nil)
    }

    @discardableResult
    func schedule(after span: Span, _ job: @escaping () -> Void) -> TimerToken {
        let token = timers.add(due: now + span, job)
        arm()
        return token
    }

    func cancel(_ token: TimerToken) {
        timers.cancel(token)
    }

    private func arm() {
        guard !isClosing, let due = timers.nextDue else { return }
        // Rounded up: a timer of libuv that fires a fraction early would only be armed again.
        let wait = (due.since(now).nanoseconds + 999_999) / 1_000_000
        uv_update_time(raw)
        uv_timer_start(timer, { handle in EventLoop.from(handle?.pointee.data)?.fire() }, wait, 0)
    }

    private func fire() {
        // Jobs that these jobs schedule for now wait for the next turn of the loop.
        let moment = now
        while let job = timers.popDue(moment) { job() }
        arm()
    }
}
