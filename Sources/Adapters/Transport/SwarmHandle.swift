// Starting a swarm on its own thread, and the one way to it from other threads.

internal import CUV
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

package final class SwarmHandle: Sendable {
    private let mailbox: Mailbox<@Sendable (Swarm) -> Void>
    private let thread = Mutex<uv_thread_t?>(nil)

    private init(_ mailbox: Mailbox<@Sendable (Swarm) -> Void>) {
        self.mailbox = mailbox
    }

    /// What the new thread is handed; it takes it over, and the starting thread forgets it.
    private final class Start {
        let loop: EventLoop
        let swarm: Swarm
        let boot: @Sendable (Swarm) -> (SwarmEvent) -> Void

        init(_ loop: EventLoop, _ swarm: Swarm, _ boot: @escaping @Sendable (Swarm) -> (SwarmEvent) -> Void) {
            self.loop = loop
            self.swarm = swarm
            self.boot = boot
        }
    }

    /// Starts the thread and its loop.
    /// - Parameter boot: called on the loop before anything else; it makes the owner, which lives on the loop, and returns
    ///   its handler of events.
    package static func start(
        _ configuration: SwarmConfiguration, boot: @escaping @Sendable (Swarm) -> (SwarmEvent) -> Void
    ) throws(TransportFault) -> SwarmHandle {
        // A peer that closed its socket must cost an error code, not the process.
        signal(SIGPIPE, SIG_IGN)
        let loop = try EventLoop()
        let mailbox = Mailbox<@Sendable (Swarm) -> Void>(countMax: configuration.limits.mailboxMax)
        let swarm = Swarm(configuration, loop, mailbox)
        let handle = SwarmHandle(mailbox)
        let start = Unmanaged.passRetained(Start(loop, swarm, boot))
        var thread = uv_thread_t()
        let code = uv_thread_create(
            &thread,
            { argument in
                guard let argument else { return }
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                // Timers and sockets refer to the swarm without keeping it: it lives until the loop has ended.
                withExtendedLifetime(start) {
                    start.swarm.begin(start.boot)
                    start.loop.run()
                }
            }, start.toOpaque())
        guard code == 0 else {
            start.release()
            throw TransportFault("start a thread", code)
        }
        handle.thread.withLock { $0 = thread }
        return handle
    }

    /// Runs `work` on the loop, after what was posted before.
    /// - Returns: false when the swarm has stopped or too much work waits already; `work` is then never run.
    @discardableResult
    package func post(_ work: @escaping @Sendable (Swarm) -> Void) -> Bool {
        mailbox.put(work)
    }

    /// Asks the swarm to stop; returns at once.
    package func stop() {
        post { $0.stop() }
    }

    /// Waits until the thread has ended. Not to be called on the loop.
    package func join() {
        guard var thread = thread.withLock({ $0.take() }) else { return }
        uv_thread_join(&thread)
    }
}

/// A value that lives on the loop, carried through the hands of other threads, which cannot open it: work that is posted
/// takes it along and reads it there.
///
/// `@unchecked Sendable` holds because the value is only reachable through `value(on:)`, which needs the swarm that it was
/// made on: `Swarm` is not Sendable, so it exists on no thread but its loop's, and another loop's swarm is refused.
package struct LoopBound<Value>: @unchecked Sendable {
    private let stored: Value
    private let home: ObjectIdentifier

    package init(_ value: Value, on swarm: Swarm) {
        stored = value
        home = ObjectIdentifier(swarm)
    }

    package func value(on swarm: Swarm) -> Value {
        precondition(home == ObjectIdentifier(swarm), "the value lives on another loop")
        return stored
    }
}
