// Against py-libp2p, a stack that nobody here wrote: both directions, connect, Identify, Ping.

import Foundation
import Primitives
import Testing
import Wire

@testable import Transport

@Suite(.serialized, .enabled(if: InteropPython.path != nil)) struct InteropTests {
    @Test func weDialPython() async throws {
        let python = try PythonPeer(["--seed", "alice"])
        defer { python.stop() }
        let listening = try await python.event("listening")
        let text = try #require((listening.value("addrs") as? [String])?.first)
        let peer = try #require((listening.value("peer") as? String).flatMap { PeerID(text: $0) })
        let us = try TestPeer(1)
        defer { us.stop() }
        let address = try Multiaddr(text: text)
        let connection = try await us.connect((address.withoutPeer ?? address).with(peer: peer))
        let info = try await us.recorder.first { if case .identified(connection, let info) = $0 { info } else { nil } }
        #expect(info.peer == peer)
        #expect(info.protocols.contains("/ipfs/ping/1.0.0") && info.protocols.contains("/ipfs/id/1.0.0"))
        #expect(!info.agentVersion.isEmpty)
        #expect(info.record?.peer == peer)
        for index in 0..<3 {
            us.handle.post { $0.ping(connection) }
            for _ in 0..<400 where pings(us).count <= index { try await Task.sleep(for: .milliseconds(10)) }
        }
        #expect(pings(us).count == 3 && !pings(us).contains(nil))
        // A name that it does not know is refused, and the connection lives on.
        us.handle.post { $0.openStream(connection, ["/test/echo/1"], tag: 4) }
        let end = try await us.recorder.first { if case .streamClosed(_, let end) = $0 { end } else { nil } }
        #expect(end == .negotiation(.noneAgreed))
        #expect(us.recorder.all.allSatisfy { if case .disconnected = $0 { false } else { true } })
    }

    @Test func pythonDialsUs() async throws {
        let us = try TestPeer(1)
        defer { us.stop() }
        let address = try await us.listen()
        let python = try PythonPeer(["--seed", "bob", "--connect", address.text, "--identify", "--ping", "5"])
        defer { python.stop() }
        let connected = try await python.event("connected")
        #expect(connected.value("peer") as? String == us.id.text)
        let identify = try await python.event("identify")
        #expect(identify.value("agent") as? String == "openledger/0.1")
        let protocols = identify.value("protocols") as? [String] ?? []
        #expect(protocols.contains("/ipfs/ping/1.0.0") && protocols.contains("/test/echo/1"))
        #expect((identify.value("listen") as? [String])?.isEmpty == false)
        #expect((identify.value("signed_peer_record_len") as? Int ?? 0) > 0)
        let ping = try await python.event("ping")
        #expect((ping.value("rtt_ms") as? [Any])?.count == 5)
        let remote = try await us.recorder.first { if case .identified(_, let info) = $0 { info } else { nil } }
        #expect(remote.protocols.contains("/ipfs/id/1.0.0"))
    }

    /// The canary: the same peer under another name must not pass.
    @Test func pythonUnderAWrongNameIsRefused() async throws {
        let python = try PythonPeer(["--seed", "alice"])
        defer { python.stop() }
        let listening = try await python.event("listening")
        let text = try #require((listening.value("addrs") as? [String])?.first)
        let us = try TestPeer(1)
        defer { us.stop() }
        let address = try Multiaddr(text: text)
        let wrong = (address.withoutPeer ?? address).with(peer: us.id)
        us.handle.post { $0.dial(wrong, tag: 1) }
        let fault = try await us.recorder.first { if case .dialFailed(_, _, let fault) = $0 { fault } else { nil } }
        #expect(fault == .handshake(.identity(.wrongPeer(expected: us.id, found: try #require(address.peer)))))
    }

    private func pings(_ peer: TestPeer) -> [Span?] {
        peer.recorder.all.compactMap { if case .pinged(_, let span) = $0 { .some(span) } else { nil } }
    }
}
