// How an engine's thread reaches the peers that compute layers for it: it asks the node, on its loop, and waits.

import Dispatch
import Foundation
import Inference
import NodeCore
import Primitives
import Records
import Synchronization

protocol LayerDoor: Sendable {
    /// What connected peers compute of a model now. Blocks.
    func offers(_ model: CID, precision: String, numerics: UInt64) -> [LayerCover.Offer]
    func open(_ peer: PeerID, _ request: LayersRequest) -> LayerSession
}

/// One session with one peer, for one thread that waits. What comes in comes from the loop.
// @unchecked Sendable: what changes is used with `condition` locked.
final class LayerSession: @unchecked Sendable {
    /// Beyond what the node itself waits for: it has the say.
    private static let openSeconds = 330.0
    private static let computeSeconds = 60.0

    private let condition = NSCondition()
    private var granted: (pages: Int, hidden: Int)?
    private var rows: [UInt8]?
    private var fault: StageFault?
    /// False where it ended for no fault of the peer's: it may be asked again at once.
    private var blames = true
    private let send: @Sendable (LayerWork) -> Void
    private let end: @Sendable () -> Void

    init(send: @escaping @Sendable (LayerWork) -> Void, end: @escaping @Sendable () -> Void) {
        self.send = send
        self.end = end
    }

    var isPeerToBlame: Bool { condition.withLock { blames } }

    func hear(_ answer: NodeAnswer) {
        condition.withLock {
            switch answer {
            case .layers(.opened(let pages, let hidden)): granted = (pages, hidden)
            case .layers(.computed(let bytes)): rows = bytes
            case .failed(.layers(let reason)): fail(reason.description, blames: reason.isPeerToBlame)
            case .failed(let reason): fail("\(reason)", blames: false)
            default: break
            }
            condition.signal()
        }
    }

    private func fail(_ reason: String, blames: Bool) {
        guard fault == nil else { return }
        fault = StageFault(reason)
        self.blames = blames
    }

    /// What the peer has set aside. Blocks.
    func opened() throws(StageFault) -> (pages: Int, hidden: Int) {
        try wait(Self.openSeconds) { granted }
    }

    /// Blocks.
    func compute(_ work: LayerWork) throws(StageFault) -> [UInt8] {
        condition.withLock { rows = nil }
        send(work)
        return try wait(Self.computeSeconds) { rows }
    }

    private func wait<Value>(_ seconds: Double, for value: () -> Value?) throws(StageFault) -> Value {
        let deadline = Date(timeIntervalSinceNow: seconds)
        let result: Result<Value, StageFault> = condition.withLock {
            while true {
                if let fault { return .failure(fault) }
                if let value = value() { return .success(value) }
                if !condition.wait(until: deadline) {
                    let late = StageFault("it did not answer within \(Int(seconds)) s")
                    fault = late
                    return .failure(late)
                }
            }
        }
        return try result.get()
    }

    /// Frees what the peer has set aside, and whoever waits.
    func close() {
        condition.withLock {
            fail("the session was closed", blames: false)
            condition.signal()
        }
        end()
    }
}

extension LayersFault {
    fileprivate var isPeerToBlame: Bool {
        switch self {
        case .vanished, .notConnected: false
        case .refused(let code, _): code != "idle" && code != "closing"
        case .malformed, .silent: true
        }
    }
}

/// The network's peers.
struct NetworkLayers: LayerDoor {
    private static let readSeconds = 5.0
    let handle: NodeHandle

    func offers(_ model: CID, precision: String, numerics: UInt64) -> [LayerCover.Offer] {
        let read = Handed<[LayerCover.Offer]>()
        handle.post { driver in
            read.set(
                driver.node.layerOffers(model, precision: precision, numerics: numerics, now: NodeDriver.wallTime()))
        }
        return read.wait(seconds: Self.readSeconds) ?? []
    }

    func open(_ peer: PeerID, _ request: LayersRequest) -> LayerSession {
        let cell = CommandCell()
        let session = LayerSession { [handle] work in
            handle.post { driver in
                if let id = cell.id.withLock({ $0 }) { driver.tell(.computeLayers(work, session: id)) }
            }
        } end: { [handle] in
            handle.post { driver in
                if let id = cell.id.withLock({ $0 }) { driver.cancel(id) }
            }
        }
        handle.post { driver in
            let id = driver.command(.openLayers(peer, request)) { session.hear($0) }
            cell.id.withLock { $0 = id }
        }
        return session
    }
}

/// A value that one thread waits for and another hands in.
private final class Handed<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)
    private let semaphore = DispatchSemaphore(value: 0)

    func set(_ new: Value) {
        value.withLock { $0 = new }
        semaphore.signal()
    }

    func wait(seconds: Double) -> Value? {
        _ = semaphore.wait(timeout: .now() + seconds)
        return value.withLock { $0 }
    }
}
