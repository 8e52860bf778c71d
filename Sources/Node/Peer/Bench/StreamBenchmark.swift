// What one stream carries over loopback: messages of 64 KiB from one swarm to another in this process, each on its
// own thread, through Yamux and Noise, counted where they arrive; MB/s are 10^6 bytes of payload a second. Beside it,
// what the cipher alone does: libsodium's ChaCha20-Poly1305 sealing full Noise records in place on one core, before
// and after the stream; the ratio says how much of that the wire reaches.

import Primitives
import Transport
import Wire

enum StreamBenchmark {
    private static let messageBytes = 64 * 1024
    private static let name: ProtocolID = "/openledger/bench/stream/1"
    private static let patience = 15.0

    private struct Tally: Sendable {
        var bytes = 0
        var fault: String?
        var isOver = false
    }

    static func run(seconds: Int) async throws -> [JSONMember] {
        let slice = max(1, Double(seconds) / 2)
        let before = try sealing(seconds: slice / 2)
        let stream = try await streaming(seconds: slice)
        let cipher = (before + (try sealing(seconds: slice / 2))) / 2
        let rival = try await Rival.libp2p.run(["stream", "\(slice)"], secondsMax: 2 * slice + 60)
        return [
            .figure("stream_mb_per_second", stream), .figure("chacha20poly1305_mb_per_second", cipher),
            .figure("ratio", cipher > 0 ? stream / cipher : 0, decimals: 3),
            JSONMember("message_bytes", .integer(messageBytes)), JSONMember("threads", .integer(2)),
            JSONMember("rival", rival),
        ]
    }

    /// MB/s of payload that arrives.
    private static func streaming(seconds: Double) async throws -> Double {
        let tally = Shared(Tally())
        let limits = ProtocolLimits(framing: .messages(bytesMax: 2 * messageBytes))
        let listener = try Home.drawnKey()
        let server = try SwarmHandle.start(BenchSwarm.configuration(listener, [name: limits])) { _ in
            { event in
                if case .message(_, let bytes) = event { tally.change { $0.bytes += bytes.count } }
            }
        }
        defer {
            server.stop()
            server.join()
        }
        let target = try await BenchSwarm.listen(server, as: listener.publicKey.peerID)
        let message = [UInt8](repeating: 0x6f, count: messageBytes)
        let client = try SwarmHandle.start(BenchSwarm.configuration(try Home.drawnKey(), [name: limits])) { swarm in
            { [unowned swarm] event in
                switch event {
                case .connected(let connection, _, _, _, _): swarm.openStream(connection, [name], tag: 1)
                case .streamOpened(let key, _, _, .outbound), .writable(let key):
                    guard !tally.value.isOver else { return }
                    while swarm.sendRoom(key) >= messageBytes { swarm.send(key, message) }
                    // The one that crosses the mark, so that `writable` comes.
                    swarm.send(key, message)
                case .streamClosed(_, let end): tally.change { $0.fault = "the stream ended: \(end)" }
                case .openFailed(_, _, let fault): tally.change { $0.fault = "the stream did not open: \(fault)" }
                case .dialFailed(_, _, let fault): tally.change { $0.fault = "the listener was not reached: \(fault)" }
                default: break
                }
            }
        }
        defer {
            tally.change { $0.isOver = true }
            client.stop()
            client.join()
        }
        client.post { $0.dial(target, tag: 1) }
        let warm = 16 * messageBytes
        _ = try await BenchWait.until("the first messages", seconds: patience) {
            let state = tally.value
            if let fault = state.fault { throw BenchmarkFault.setUp(fault) }
            return state.bytes >= warm ? true : nil
        }
        let begin = tally.value.bytes
        let watch = Stopwatch()
        try await Task.sleep(for: .seconds(seconds))
        let state = tally.value
        if let fault = state.fault { throw BenchmarkFault.setUp(fault) }
        return Double(state.bytes - begin) / 1e6 / watch.seconds
    }

    /// MB/s of plaintext that is sealed.
    private static func sealing(seconds: Double) throws -> Double {
        var cipher = CipherState(key: Home.randomBytes(CipherState.keyBytes))
        let size = NoiseSession.plaintextBytesMax
        var buffer = [UInt8](repeating: 0x6f, count: size)
        buffer.reserveCapacity(size + CipherState.tagBytes)
        let watch = Stopwatch()
        var bytes = 0
        while watch.seconds < seconds {
            for _ in 0..<64 {
                try cipher.seal(&buffer, from: 0)
                buffer.removeLast(CipherState.tagBytes)
                bytes += size
            }
        }
        return Double(bytes) / 1e6 / watch.seconds
    }
}
