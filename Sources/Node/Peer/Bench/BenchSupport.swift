// What the benchmarks share: time, rounding, waiting, and swarms on loopback.

import Foundation
import Primitives
import Transport
import Wire

struct Stopwatch: Sendable {
    private let begin = ContinuousClock.now

    var seconds: Double {
        let passed = (ContinuousClock.now - begin).components
        return Double(passed.seconds) + Double(passed.attoseconds) * 1e-18
    }
}

extension JSONMember {
    /// A figure rounded to `decimals` places.
    static func figure(_ key: String, _ value: Double, decimals: Int = 1) -> JSONMember {
        let scale = pow(10, Double(decimals))
        return JSONMember(key, .double((value * scale).rounded() / scale))
    }
}

enum BenchWait {
    /// Looks until there is something, every `interval`.
    /// - Throws: `BenchmarkFault.setUp` after `seconds`, or what `look` throws.
    static func until<Found: Sendable>(
        _ what: String, seconds: Double, every interval: Duration = .milliseconds(2), _ look: () throws -> Found?
    ) async throws -> Found {
        let watch = Stopwatch()
        while true {
            if let found = try look() { return found }
            guard watch.seconds < seconds else {
                throw BenchmarkFault.setUp(
                    "\(what): not within \(Int(seconds)) s; the machine may be too busy, try again")
            }
            try await Task.sleep(for: interval)
        }
    }
}

/// Swarms of one process that meet on 127.0.0.1.
enum BenchSwarm {
    static func configuration(
        _ key: SigningKey, _ protocols: [ProtocolID: ProtocolLimits] = [:]
    ) -> SwarmConfiguration {
        var limits = SwarmLimits()
        // Two swarms that meet sixteen times at once are one peer to each other.
        limits.connectionsPerPeerMax = limits.pendingInboundMax
        return SwarmConfiguration(
            connection: ConnectionSettings(
                identity: key, protocols: protocols, about: LocalInfo(listenAddresses: [], recordSequence: 0)),
            limits: limits)
    }

    /// Listens on a free port.
    /// - Returns: the address with its peer ID, for others to dial.
    static func listen(_ handle: SwarmHandle, as peer: PeerID) async throws -> Multiaddr {
        let any = try Multiaddr(text: "/ip4/127.0.0.1/tcp/0")
        let outcome = Shared<Result<[Multiaddr], TransportFault>?>(nil)
        handle.post { swarm in
            do throws(TransportFault) {
                let found = try swarm.listen(on: any)
                outcome.change { $0 = .success(found) }
            } catch {
                outcome.change { $0 = .failure(error) }
            }
        }
        let result = try await BenchWait.until("listening on 127.0.0.1", seconds: 10) { outcome.value }
        switch result {
        case .failure(let fault): throw BenchmarkFault.setUp("127.0.0.1 cannot be listened on: \(fault)")
        case .success(let found):
            guard let address = found.first else { throw BenchmarkFault.setUp("127.0.0.1 gave no address") }
            return address.with(peer: peer)
        }
    }
}
