// Swarms on real sockets over loopback: connect, exchange, limits, faults, the end, and how fast it is.

import Primitives
import Synchronization
import Testing
import Wire

@testable import Transport

/// Collects events across the wall between the loop and the test.
final class Recorder: Sendable {
    private let events = Mutex<[SwarmEvent]>([])

    func add(_ event: SwarmEvent) { events.withLock { $0.append(event) } }

    var all: [SwarmEvent] { events.withLock { $0 } }

    /// Waits until `pick` finds something among the events, at most ten seconds.
    func first<Found>(_ pick: (SwarmEvent) -> Found?) async throws -> Found {
        for _ in 0..<2_000 {
            if let found = all.lazy.compactMap(pick).first { return found }
            try await Task.sleep(for: .milliseconds(5))
        }
        Issue.record("the event never came; seen: \(all.map { "\($0)".prefix(100) })")
        throw TransportFault.timeout
    }
}

func testConfiguration(_ byte: UInt8, extra: [ProtocolID: ProtocolLimits] = [:]) throws -> SwarmConfiguration {
    let own: [ProtocolID: ProtocolLimits] = [
        "/test/echo/1": ProtocolLimits(framing: .messages(bytesMax: 1 << 20)),
        "/test/sink/1": ProtocolLimits(framing: .raw),
    ]
    return SwarmConfiguration(
        connection: ConnectionSettings(
            identity: try SigningKey(seed: [UInt8](repeating: byte, count: 32)), protocols: own.merging(extra) { $1 },
            about: LocalInfo(listenAddresses: [], recordSequence: 0)))
}

/// A swarm that records, and echoes what comes on inbound streams of /test/echo/1.
final class TestPeer: Sendable {
    let handle: SwarmHandle
    let recorder = Recorder()
    let id: PeerID

    init(_ byte: UInt8, extra: [ProtocolID: ProtocolLimits] = [:]) throws {
        let configuration = try testConfiguration(byte, extra: extra)
        id = configuration.connection.identity.publicKey.peerID
        handle = try SwarmHandle.start(configuration) { [recorder] swarm in
            var echoing: Set<StreamKey> = []
            return { [unowned swarm] event in
                switch event {
                case .streamOpened(let key, _, "/test/echo/1", .inbound): echoing.insert(key)
                case .message(let key, let bytes) where echoing.contains(key): swarm.send(key, bytes)
                default: break
                }
                recorder.add(event)
            }
        }
    }

    func listen(_ text: String = "/ip4/127.0.0.1/tcp/0") async throws -> Multiaddr {
        let address = try Multiaddr(text: text)
        handle.post { swarm in
            do { try swarm.listen(on: address) } catch { Issue.record("\(error)") }
        }
        return try await recorder.first { if case .listening(let found) = $0 { found } else { nil } }.with(peer: id)
    }

    func connect(_ address: Multiaddr, tag: UInt64 = 1) async throws -> ConnectionID {
        handle.post { $0.dial(address, tag: tag) }
        return try await recorder.first { event in
            if case .connected(let id, _, _, .outbound(tag: tag), _) = event { id } else { nil }
        }
    }

    func stop() {
        handle.stop()
        handle.join()
    }
}

@Suite(.serialized) struct SwarmTests {
    @Test(arguments: ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"]) func connectsAndExchanges(address: String) async throws
    {
        let server = try TestPeer(1)
        let client = try TestPeer(2)
        let connection = try await client.connect(try await server.listen(address))
        _ = try await client.recorder.first { if case .identified(_, let info) = $0 { info } else { nil } }
        client.handle.post { $0.openStream(connection, ["/test/echo/1"], tag: 9) }
        let stream = try await client.recorder.first { event in
            if case .streamOpened(let key, _, _, .outbound(tag: 9)) = event { key } else { nil }
        }
        let message = [UInt8](repeating: 5, count: 300_000)
        client.handle.post { $0.send(stream, message) }
        let echo = try await client.recorder.first { if case .message(stream, let bytes) = $0 { bytes } else { nil } }
        #expect(echo == message)
        client.handle.post { $0.ping(connection) }
        let span = try await client.recorder.first { if case .pinged(_, let span) = $0 { span } else { nil } }
        #expect(span > .zero)
        client.stop()
        #expect(client.recorder.all.last == .stopped)
        let reason = try await server.recorder.first {
            if case .disconnected(_, _, let why, _) = $0 { why } else { nil }
        }
        #expect(reason == .byPeer)
        server.stop()
    }

    @Test func namesAreResolved() async throws {
        let server = try TestPeer(1)
        let client = try TestPeer(2)
        let address = try await server.listen()
        guard case .tcp(let port) = address.components[1] else { return }
        _ = try await client.connect(try Multiaddr(text: "/dns4/localhost/tcp/\(port)/p2p/\(server.id.text)"))
        client.stop()
        server.stop()
    }

    @Test func faultsAreNamed() async throws {
        let server = try TestPeer(1)
        let client = try TestPeer(2)
        let address = try await server.listen()
        func fault(_ address: Multiaddr, _ tag: UInt64) async throws -> DialFault {
            client.handle.post { $0.dial(address, tag: tag) }
            return try await client.recorder.first { event in
                if case .dialFailed(tag: tag, _, let fault) = event { fault } else { nil }
            }
        }
        let wrong = try await fault(try #require(address.withoutPeer).with(peer: client.id), 1)
        #expect(wrong == .handshake(.identity(.wrongPeer(expected: client.id, found: server.id))))
        #expect("\(try await fault(try Multiaddr(text: "/ip4/127.0.0.1/tcp/1"), 2))".contains("ECONNREFUSED"))
        let udp = try Multiaddr(text: "/ip4/127.0.0.1/udp/1")
        #expect(try await fault(udp, 3) == .transport(.unsupportedAddress(udp)))
        let unknown = try Multiaddr(text: "/dns4/no-such-name.invalid/tcp/1")
        #expect("\(try await fault(unknown, 4))".contains("resolve"))
        client.stop()
        server.stop()
    }

    @Test func listeningTwiceOnOnePortIsRefused() async throws {
        let server = try TestPeer(1)
        let address = try await server.listen()
        let other = try TestPeer(2)
        let recorder = other.recorder
        other.handle.post { swarm in
            do {
                try swarm.listen(on: address)
                Issue.record("the port was free")
            } catch {
                #expect("\(error)".contains("EADDRINUSE"))
            }
            recorder.add(.stopped)
        }
        _ = try await recorder.first { $0 == .stopped ? true : nil }
        server.stop()
        other.stop()
        #expect(!other.handle.post { _ in })
    }

    @Test func duplicateConnectionsAreToleratedUpToALimit() async throws {
        let server = try TestPeer(1)
        let client = try TestPeer(2)
        let address = try await server.listen()
        for tag in 1...5 { _ = try await client.connect(address, tag: UInt64(tag)) }
        let reason = try await client.recorder.first {
            if case .disconnected(_, _, let why, _) = $0 { why } else { nil }
        }
        #expect(reason == .requested || reason == .byPeer)
        client.stop()
        server.stop()
    }

    /// Sanity, not a benchmark: 32 MiB through one stream with back-pressure, nothing lost, in any build on any machine.
    @Test func aLongStreamArrivesWhole() async throws {
        let total = 32 << 20
        let chunk = [UInt8](repeating: 1, count: 64 * 1024)
        let server = try TestPeer(1)
        let address = try await server.listen()
        let configuration = try testConfiguration(2)
        let client = try SwarmHandle.start(configuration) { swarm in
            var sent = 0
            func fill(_ key: StreamKey) {
                while sent < total {
                    sent += chunk.count
                    guard swarm.send(key, chunk) else { break }
                }
                if sent == total { swarm.finishStream(key) }
            }
            return { [unowned swarm] event in
                switch event {
                case .connected(let id, _, _, _, _): swarm.openStream(id, ["/test/sink/1"], tag: 1)
                case .streamOpened(let key, _, _, .outbound), .writable(let key): fill(key)
                default: break
                }
            }
        }
        client.post { $0.dial(address, tag: 1) }
        _ = try await server.recorder.first { if case .streamFinished = $0 { true } else { nil } }
        let received = server.recorder.all.reduce(0) { sum, event in
            if case .message(_, let bytes) = event { sum + bytes.count } else { sum }
        }
        #expect(received == total)
        client.stop()
        client.join()
        server.stop()
    }
}
