// The peer's own check-up: each line says what holds, or what is wrong and what to do about it.

import Foundation
import Gateway
import Primitives
import Records
import Storage

private struct Check {
    enum Verdict: String { case ok, warning, fault }

    let name: String
    let verdict: Verdict
    let message: String
    var remedy: String?

    var json: JSONValue {
        .object([
            "name": .string(name), "verdict": .string(verdict.rawValue), "message": .string(message),
            "remedy": .text(remedy),
        ])
    }
}

extension PeerService {
    private static let diskFaultBytes: UInt64 = 256 << 20
    private static let diskWarningBytes: UInt64 = 2 << 30
    /// Milliseconds that a batch's time may lie ahead of the clock here.
    private static let clockAheadMax: Int64 = 10_000

    func doctor() async throws(NodeFault) -> JSONValue {
        let standing = try await standing()
        let checks = [
            disk(), clock(standing), await port(), file("key", peer.home.keyPath), file("token", peer.home.tokenPath),
            await store(), peersCheck(standing), chain(standing), models(),
        ]
        return .object([
            "ok": .bool(!checks.contains { $0.verdict == .fault }), "checks": .array(checks.map(\.json)),
        ])
    }

    private func disk() -> Check {
        guard let free = Self.freeBytes(at: peer.home.path) else {
            return Check(name: "disk", verdict: .warning, message: "the free space of \(peer.home.path) cannot be read")
        }
        let message = "\(free >> 20) MiB free"
        let remedy = "make room on the file system of \(peer.home.path), or remove models with openledger model remove"
        if free < Self.diskFaultBytes { return Check(name: "disk", verdict: .fault, message: message, remedy: remedy) }
        if free < Self.diskWarningBytes {
            return Check(name: "disk", verdict: .warning, message: message, remedy: remedy)
        }
        return Check(name: "disk", verdict: .ok, message: message)
    }

    private func clock(_ standing: Standing) -> Check {
        let now = NodeDriver.wallTime().milliseconds
        guard standing.tipTime.milliseconds <= now + Self.clockAheadMax else {
            let seconds = (standing.tipTime.milliseconds - now) / 1000
            return Check(
                name: "clock", verdict: .fault, message: "the newest batch is \(seconds) s ahead of the clock here",
                remedy: "set the clock, best by NTP: timedatectl set-ntp true")
        }
        return Check(name: "clock", verdict: .ok, message: "not behind the newest batch")
    }

    private func port() async -> Check {
        let addresses = await addresses()
        guard let port = addresses.lazy.compactMap(Self.port).first else {
            return Check(
                name: "port", verdict: .warning, message: "this peer listens nowhere; others cannot reach it",
                remedy: "set listen in config.toml, as in listen = \"/ip4/0.0.0.0/tcp/4001\"")
        }
        if let notes = try? await handle.connections(), notes.contains(where: { !$0.outbound }) {
            return Check(name: "port", verdict: .ok, message: "listens on port \(port), and others have come in by it")
        }
        return Check(
            name: "port", verdict: isLocalNetwork ? .ok : .warning,
            message: "listens on port \(port); nobody has come in by it yet",
            remedy: isLocalNetwork
                ? nil : "if others cannot reach you, let TCP port \(port) through firewall and router")
    }

    private func file(_ name: String, _ path: String) -> Check {
        guard FileMode.bits(path) != nil else {
            return Check(
                name: name, verdict: .fault, message: "\(path) is not there",
                remedy: name == "key"
                    ? "restore it with openledger key restore FILE" : "start the peer again: it makes one")
        }
        guard FileMode.isPrivate(path) else {
            return Check(
                name: name, verdict: .fault, message: "other users can read \(path)", remedy: "chmod 600 \(path)")
        }
        return Check(name: name, verdict: .ok, message: "\(path) is yours alone")
    }

    private func store() async -> Check {
        let store = peer.store.store
        // A walk over the whole file: not on a thread that others wait for.
        let result: Result<Int, StorageFault> = await Task.detached {
            do throws(StorageFault) { return Result<Int, StorageFault>.success(try store.check()) } catch {
                return .failure(error)
            }
        }.value
        switch result {
        case .success(let pages):
            return Check(name: "store", verdict: .ok, message: "\(pages) pages read, none damaged")
        case .failure(let fault):
            return Check(
                name: "store", verdict: .fault, message: "\(fault)",
                remedy:
                    "stop the peer, keep a copy of \(peer.home.path), and begin with a new home and your key's backup")
        }
    }

    private func peersCheck(_ standing: Standing) -> Check {
        let count = standing.connected
        if count > 0 {
            return Check(name: "peers", verdict: .ok, message: count == 1 ? "1 connected" : "\(count) connected")
        }
        if peer.settings.list("bootstrap").isEmpty {
            return Check(
                name: "peers", verdict: .ok, message: "none, and none is configured: a network of this peer's own",
                remedy: "to join others: openledger peers add ADDRESS, or bootstrap in config.toml")
        }
        return Check(
            name: "peers", verdict: .fault, message: "none of the boot peers answers",
            remedy:
                "check bootstrap in config.toml and the way there: \(peer.settings.list("bootstrap").joined(separator: ", "))"
        )
    }

    private func chain(_ standing: Standing) -> Check {
        switch state(standing) {
        case .ready: Check(name: "chain", verdict: .ok, message: "batch \(standing.height) is final")
        case .waiting:
            Check(
                name: "chain", verdict: .warning,
                message: "batch \(standing.height); nobody to hear of newer ones from", remedy: "see peers")
        case .halted:
            Check(
                name: "chain", verdict: .fault, message: "no quorum since batch \(standing.height)",
                remedy: "wait until more than two thirds of the committee are back; openledger committee names them")
        case .draining: Check(name: "chain", verdict: .warning, message: "the peer is shutting down")
        }
    }

    private func models() -> Check {
        let names = peer.shelf.list().filter { $0.kind == .model }.map(\.name)
        guard !names.isEmpty else {
            return Check(
                name: "models", verdict: .warning, message: "none here: this peer answers nothing itself",
                remedy: "openledger model pull NAME, or openledger model import PATH")
        }
        return Check(name: "models", verdict: .ok, message: names.joined(separator: ", "))
    }
}
