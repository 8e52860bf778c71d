// The node from other threads: read its state, command it, hear what it notices. Everything crosses to the loop once and
// comes back once a message.

package import NodeCore
package import Primitives
import Synchronization
import Transport
import Wire

/// Why a call did not reach the node.
package enum HandleFault: Error, Hashable, Sendable {
    /// The loop has ended, or its mailbox is full.
    case stopped
}

package final class NodeHandle: Sendable {
    package let network: NetworkID
    package let account: AccountID
    package let peer: PeerID
    private let swarm: SwarmHandle
    private let box: LoopBox
    private let hub: NoticeHub

    init(network: NetworkID, key: PublicKey, swarm: SwarmHandle, box: LoopBox, hub: NoticeHub) {
        self.network = network
        account = key.account
        peer = key.peerID
        self.swarm = swarm
        self.box = box
        self.hub = hub
    }

    func post(_ work: @escaping @Sendable (NodeDriver) -> Void) {
        let box = box
        swarm.post { swarm in work(box.driver(on: swarm)) }
    }

    /// Runs `body` on the loop with the node as it is.
    package func read<Value: Sendable>(_ body: @escaping @Sendable (Node) -> Value) async throws(HandleFault) -> Value {
        try await onDriver { body($0.node) }
    }

    package func connections() async throws(HandleFault) -> [ConnectionNote] {
        try await onDriver { $0.connections.sorted { $0.key < $1.key }.map(\.value) }
    }

    package func listenAddresses() async throws(HandleFault) -> [Multiaddr] {
        let box = box
        do {
            return try await withCheckedThrowingContinuation {
                (continuation: CheckedContinuation<[Multiaddr], any Error>) in
                let isPosted = swarm.post { swarm in
                    _ = box
                    continuation.resume(returning: swarm.listenAddresses)
                }
                if !isPosted { continuation.resume(throwing: HandleFault.stopped) }
            }
        } catch {
            throw .stopped
        }
    }

    private func onDriver<Value: Sendable>(_ body: @escaping @Sendable (NodeDriver) -> Value) async throws(HandleFault)
        -> Value
    {
        let box = box
        do {
            return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
                let isPosted = swarm.post { swarm in
                    continuation.resume(returning: body(box.driver(on: swarm)))
                }
                if !isPosted { continuation.resume(throwing: HandleFault.stopped) }
            }
        } catch {
            throw .stopped
        }
    }

    /// Commands the node. The stream ends with the last answer; ending the iteration before cancels what was asked.
    package func command(_ command: NodeCommand) -> AsyncStream<NodeAnswer> {
        let box = box
        let swarm = swarm
        return AsyncStream(bufferingPolicy: .bufferingOldest(65_536)) { continuation in
            let cell = CommandCell()
            continuation.onTermination = { reason in
                guard case .cancelled = reason else { return }
                swarm.post { swarm in
                    if let id = cell.id.withLock({ $0 }) { box.driver(on: swarm).cancel(id) }
                }
            }
            let isPosted = swarm.post { swarm in
                let id = box.driver(on: swarm).command(command) { answer in
                    continuation.yield(answer)
                    switch answer {
                    case .accepted, .token, .progress, .layers, .sources: break
                    default: continuation.finish()
                    }
                }
                cell.id.withLock { $0 = id }
            }
            if !isPosted {
                continuation.yield(.failed(.notReady("the peer is stopping")))
                continuation.finish()
            }
        }
    }

    /// The last answer of a command that has one.
    package func perform(_ command: NodeCommand) async -> NodeAnswer {
        var last = NodeAnswer.failed(.notReady("the peer is stopping"))
        for await answer in self.command(command) { last = answer }
        return last
    }

    /// What the node notices from now on; a reader that is too slow loses the oldest.
    package func notices() -> AsyncStream<NodeNotice> { hub.listen() }
}

/// A command's number, for those who are not on the loop when it gets one.
final class CommandCell: Sendable {
    let id = Mutex<CommandID?>(nil)
}

/// The driver, for those who are on its loop.
final class LoopBox: Sendable {
    private let bound = Mutex<LoopBound<NodeDriver>?>(nil)

    func set(_ driver: LoopBound<NodeDriver>) { bound.withLock { $0 = driver } }

    func driver(on swarm: Swarm) -> NodeDriver {
        guard let driver = bound.withLock({ $0 }) else {
            preconditionFailure("the loop runs before its driver is there")
        }
        return driver.value(on: swarm)
    }
}

/// Hands notices to whoever listens.
final class NoticeHub: Sendable {
    static let listenersMax = 64
    static let bufferMax = 4096

    private struct State {
        var next = 0
        var listeners: [Int: AsyncStream<NodeNotice>.Continuation] = [:]
    }

    private let state = Mutex(State())

    func listen() -> AsyncStream<NodeNotice> {
        AsyncStream(bufferingPolicy: .bufferingNewest(Self.bufferMax)) { continuation in
            let id: Int? = state.withLock { state in
                guard state.listeners.count < Self.listenersMax else { return nil }
                state.next += 1
                state.listeners[state.next] = continuation
                return state.next
            }
            guard let id else { return continuation.finish() }
            continuation.onTermination = { [weak self] _ in
                self?.state.withLock { _ = $0.listeners.removeValue(forKey: id) }
            }
        }
    }

    func tell(_ notice: NodeNotice) {
        let listeners = state.withLock { Array($0.listeners.values) }
        for listener in listeners { listener.yield(notice) }
    }

    func finish() {
        let listeners = state.withLock { Array($0.listeners.values) }
        for listener in listeners { listener.finish() }
    }
}
