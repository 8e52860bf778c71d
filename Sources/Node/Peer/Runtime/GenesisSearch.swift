// The time between a newcomer's start and its genesis: it dials the boot peers and asks, and says at its own API that it
// waits. Ends with the genesis, or when it is told to stop.

import Dispatch
import Foundation
import Gateway
package import Ledger
package import Logging
import Metrics
import NodeCore
package import Primitives
import Synchronization
import Transport
import Wire

/// What a start needs to know that is not here.
package final class GenesisSearch: Sendable {
    /// What people see of it.
    struct Standing: Sendable {
        var sentence = ""
        var connected = 0
    }

    package let network: NetworkID
    private let boot: [Multiaddr]
    private let key: SigningKey
    private let logger: Logger
    private let told = Mutex(Standing())

    package init(network: NetworkID, boot: [Multiaddr], key: SigningKey, logger: Logger) {
        self.network = network
        self.boot = boot
        self.key = key
        self.logger = logger
        told.withLock { $0.sentence = "Waiting for the genesis of \(network): the boot peers are being called." }
    }

    var standing: Standing { told.withLock { $0 } }

    /// - Throws: `.stopped` when the task is cancelled.
    package func run() async throws(PeerFault) -> Genesis {
        let (answers, answer) = AsyncStream<Result<Genesis, PeerFault>>.makeStream()
        let (seeker, key) = (GenesisSeeker(network: network, boot: boot), key)
        let swarm: SwarmHandle
        do {
            swarm = try SwarmHandle.start(Self.configuration(key)) { [self] swarm in
                let driver = SeekerDriver(
                    seeker, on: swarm, log: { [logger] in logger.log(level: $0, "\($1)") },
                    tell: { [self] in tell($0, connected: $1) },
                    done: {
                        answer.yield($0)
                        answer.finish()
                    })
                driver.start()
                return { driver.handle($0) }
            }
        } catch { throw .transport("the network loop cannot start: \(error)") }
        // Cancelled, the iteration ends without an answer.
        var found: Result<Genesis, PeerFault> = .failure(.stopped)
        for await result in answers { found = result }
        swarm.stop()
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            DispatchQueue.global().async {
                swarm.join()
                continuation.resume()
            }
        }
        return try found.get()
    }

    private func tell(_ sentence: String, connected: Int) {
        let isNew = told.withLock { standing in
            defer { standing = Standing(sentence: sentence, connected: connected) }
            return standing.sentence != sentence
        }
        if isNew { logger.notice("\(sentence)") }
    }

    private static func configuration(_ key: SigningKey) -> SwarmConfiguration {
        var protocols: [ProtocolID: ProtocolLimits] = [:]
        if let id = ProtocolID(NodeProtocol.headers) {
            protocols[id] = ProtocolLimits(framing: .messages(bytesMax: GenesisSeeker.answerBytesMax))
        }
        return RunningPeer.swarmConfiguration(key, protocols)
    }
}

/// The seeker on its loop; touched nowhere else.
private final class SeekerDriver {
    private var seeker: GenesisSeeker
    private unowned let swarm: Swarm
    private let log: (Logger.Level, String) -> Void
    private let tell: (String, Int) -> Void
    private let done: (Result<Genesis, PeerFault>) -> Void
    private var waiting: [SeekerEvent] = []
    private var isFeeding = false
    private var connectionOf: [PeerID: ConnectionID] = [:]
    private var keys: [NodeCore.StreamID: StreamKey] = [:]
    private var streams: [StreamKey: NodeCore.StreamID] = [:]

    init(
        _ seeker: GenesisSeeker, on swarm: Swarm, log: @escaping (Logger.Level, String) -> Void,
        tell: @escaping (String, Int) -> Void, done: @escaping (Result<Genesis, PeerFault>) -> Void
    ) {
        self.seeker = seeker
        self.swarm = swarm
        self.log = log
        self.tell = tell
        self.done = done
    }

    func start() {
        feed(.start)
        beat()
    }

    private func beat() {
        swarm.schedule(after: .seconds(1)) { [weak self] in
            guard let self, !self.seeker.isDone else { return }
            self.feed(.tick)
            self.beat()
        }
    }

    /// Events that came while effects were performed wait their turn.
    private func feed(_ event: SeekerEvent) {
        waiting.append(event)
        guard !isFeeding else { return }
        isFeeding = true
        defer { isFeeding = false }
        while !waiting.isEmpty {
            for effect in seeker.handle(waiting.removeFirst(), at: swarm.now) { perform(effect) }
        }
        tell(seeker.sentence, seeker.connectedCount)
    }

    private func perform(_ effect: SeekerEffect) {
        switch effect {
        case .dial(let address): swarm.dial(address, tag: 0)
        case .open(let stream, let peer):
            guard let connection = connectionOf[peer], let name = ProtocolID(NodeProtocol.headers) else {
                return feed(.ended(stream))
            }
            swarm.openStream(connection, [name], tag: stream.number)
        case .send(let stream, let bytes): if let key = keys[stream] { _ = swarm.send(key, bytes) }
        case .finish(let stream): if let key = keys[stream] { swarm.finishStream(key) }
        case .reset(let stream):
            if let key = keys.removeValue(forKey: stream) {
                streams[key] = nil
                swarm.resetStream(key)
            }
        case .disconnect(let peer): swarm.disconnect(peer)
        case .blame(let peer, let reason): log(.warning, "\(peer) is to blame: it sent \(reason)")
        case .found(let genesis): done(.success(genesis))
        case .unreadable(let fault):
            done(
                .failure(
                    .network(
                        "this version cannot read the genesis of \(seeker.network): \(fault); get a newer openledger")))
        }
    }

    func handle(_ event: SwarmEvent) {
        switch event {
        case .connected(let connection, let peer, _, _, _):
            connectionOf[peer] = connection
            feed(.connected(peer))
        case .disconnected(let connection, let peer, _, let others):
            for key in streams.keys.filter({ $0.connection == connection }).sorted() { ended(key, nil) }
            guard connectionOf[peer] == connection else { return }
            connectionOf[peer] = others > 0 ? swarm.connection(to: peer) : nil
            if connectionOf[peer] == nil { feed(.disconnected(peer)) }
        case .streamOpened(let key, _, _, .outbound(let tag)):
            keys[NodeCore.StreamID(tag)] = key
            streams[key] = NodeCore.StreamID(tag)
            feed(.opened(NodeCore.StreamID(tag)))
        case .streamOpened(let key, _, _, .inbound): swarm.resetStream(key)
        case .openFailed(_, let tag, _): feed(.ended(NodeCore.StreamID(tag)))
        case .message(let key, let bytes): if let stream = streams[key] { feed(.received(stream, bytes)) }
        case .streamFinished(let key): ended(key, nil)
        case .streamClosed(let key, .framing(let fault)): ended(key, "what is no answer: \(fault)")
        case .streamClosed(let key, _): ended(key, nil)
        case .dialFailed(_, let address, let fault): log(.debug, "\(address) does not answer: \(fault)")
        default: break
        }
    }

    private func ended(_ key: StreamKey, _ reason: String?) {
        guard let stream = streams.removeValue(forKey: key) else { return }
        keys[stream] = nil
        feed(reason.map { .broken(stream, $0) } ?? .ended(stream))
    }
}
