// The runs of this peer, one computing at a time on a thread of its own, the others waiting in the order they came. A run is
// the same run whenever the same is asked: it is joined while it goes on, gone on with where it was cut off, and begun anew
// once it is over.

import Dispatch
import Foundation
import Logging
import Primitives
import Records
import Storage
import Synchronization
import Training

package enum TrainingDeskFault: Error, Sendable, CustomStringConvertible {
    case unknown(String)
    case full(Int)
    case over(String, TrainingState)
    case closed
    case disk(HomeFault)

    package var description: String {
        switch self {
        case .unknown(let id): "there is no run \(id); list them: openledger adapter runs"
        case .full(let limit): "\(limit) runs are open already; wait for one or cancel one: openledger adapter runs"
        case .over(let id, let state): "the run \(id) is over (\(state.rawValue))"
        case .closed: "the peer is stopping; the run goes on when it is up again"
        case .disk(let fault): "\(fault)"
        }
    }
}

package final class TrainingDesk: Sendable {
    private struct Desk {
        var runs: [String: TrainingRun] = [:]
        /// Ascending by arrival.
        var order: [String] = []
        var isClosed = false
    }

    private let path: String
    private let means: TrainingMeans
    private let logger: Logger
    private let desk = Mutex(Desk())
    private let thread = DispatchQueue(label: "openledger.training", qos: .utility)
    /// Tells the network of an adapter that was made.
    private let made: @Sendable (CID, FolderManifest) -> Void

    init(
        path: String, means: TrainingMeans, logger: Logger, made: @escaping @Sendable (CID, FolderManifest) -> Void
    ) {
        self.path = path
        self.means = means
        self.logger = logger
        self.made = made
    }

    /// Finds what an earlier run of the peer left.
    /// - Parameter goesOn: whether that is gone on with now, rather than when it is asked again.
    func begin(goesOn: Bool = true) {
        let names = ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
        for name in names {
            let folder = TrainingFolder(path: "\(path)/\(name)")
            guard !name.hasSuffix(".partial"), let order = folder.order, let key = Self.key(of: folder, order),
                Self.id(key) == name
            else {
                logger.notice("\(folder.path) is no training run and is left alone")
                continue
            }
            let run = TrainingRun(id: name, key: key, order: order, folder: folder)
            desk.withLock { desk in
                desk.runs[name] = run
                desk.order.append(name)
            }
            if goesOn, run.state == .waiting { enqueue(run) }
        }
    }

    private static func id(_ key: [UInt8]) -> String { String(Hex.encode(key).prefix(16)) }

    /// Names a run: the same base, order and rows.
    private static func key(
        _ order: TrainingOrder, rows: [UInt8], evaluation: [UInt8]?, initial: [UInt8]?
    ) -> [UInt8] {
        Digest(
            sha256Of: [
                order.json.serialized(), [0], Digest(sha256: rows).bytes, Digest(sha256: evaluation ?? []).bytes,
                Digest(sha256: initial ?? []).bytes,
            ]
        ).bytes
    }

    private static func key(of folder: TrainingFolder, _ order: TrainingOrder) -> [UInt8]? {
        guard let rows = folder.bytes(folder.rowsPath) else { return nil }
        return key(
            order, rows: rows, evaluation: folder.bytes(folder.evaluationPath), initial: folder.initialWeights)
    }

    // MARK: Any thread

    package var runs: [TrainingRun] { desk.withLock { desk in desk.order.compactMap { desk.runs[$0] } } }

    package func run(_ id: String) throws(TrainingDeskFault) -> TrainingRun {
        guard let run = desk.withLock({ $0.runs[id] }) else { throw .unknown(id) }
        return run
    }

    /// - Returns: the run, and whether it was there already and is joined.
    package func start(
        _ order: TrainingOrder, rows: [UInt8], evaluation: [UInt8]?, initial: [(name: String, bytes: [UInt8])]
    ) throws(TrainingDeskFault) -> (run: TrainingRun, isJoined: Bool) {
        let weights = initial.first { $0.name == PEFTFolder.weightsName }?.bytes
        let key = Self.key(order, rows: rows, evaluation: evaluation, initial: weights), id = Self.id(key)
        let known = desk.withLock { desk in desk.isClosed ? nil : desk.runs[id] }
        if let known, !known.state.isOver {
            if known.state == .paused { try resume(id) } else { enqueue(known) }
            return (known, true)
        }
        let folder = TrainingFolder(path: "\(path)/\(id)")
        let open = runs.filter { !$0.state.isOver }.count
        guard open < TrainingDeskLimit.openMax else { throw .full(TrainingDeskLimit.openMax) }
        do {
            try TrainingFolder.makeFolder(path)
            _ = try TrainingFolder.make(
                at: folder.path, order: order, rows: rows, evaluation: evaluation, initial: initial)
        } catch {
            throw .disk(error)
        }
        let run = TrainingRun(id: id, key: key, order: order, folder: folder)
        let isTaken = desk.withLock { desk in
            guard !desk.isClosed else { return false }
            desk.order.removeAll { $0 == id }
            desk.order.append(id)
            desk.runs[id] = run
            return true
        }
        guard isTaken else { throw .closed }
        makeRoom()
        enqueue(run)
        return (run, false)
    }

    /// The oldest that are over go, with their folders.
    private func makeRoom() {
        let gone = desk.withLock { desk in
            var gone: [TrainingRun] = []
            while desk.order.count > TrainingDeskLimit.runsMax,
                let id = desk.order.first(where: { desk.runs[$0]?.state.isOver == true })
            {
                desk.order.removeAll { $0 == id }
                if let run = desk.runs.removeValue(forKey: id) { gone.append(run) }
            }
            return gone
        }
        for run in gone { try? FileManager.default.removeItem(atPath: run.folder.path) }
    }

    /// One that is queued twice is performed once.
    private func enqueue(_ run: TrainingRun) {
        thread.async { [self] in
            guard !desk.withLock({ $0.isClosed }) else { return }
            guard run.state == .waiting else { return }
            guard let (cid, manifest) = run.perform(means) else {
                if run.state == .failed { logger.warning("training \(run.order.name) failed: \(run.reason ?? "")") }
                return
            }
            made(cid, manifest)
        }
    }

    package func pause(_ id: String) throws(TrainingDeskFault) { try decide(id, .pause, .paused) }
    package func cancel(_ id: String) throws(TrainingDeskFault) { try decide(id, .cancel, .cancelled) }

    private func decide(_ id: String, _ wish: TrainingRun.Wish, _ state: TrainingState) throws(TrainingDeskFault) {
        let run = try run(id)
        switch run.state {
        case .running: run.wish(wish)
        case .waiting, .paused:
            do throws(HomeFault) { try run.set(state) } catch { throw .disk(error) }
        case .done, .failed, .cancelled: throw .over(id, run.state)
        }
    }

    package func resume(_ id: String) throws(TrainingDeskFault) {
        let run = try run(id)
        guard run.state == .paused else {
            if run.state.isOver { throw .over(id, run.state) }
            return
        }
        do throws(HomeFault) { try run.set(.waiting) } catch { throw .disk(error) }
        enqueue(run)
    }

    /// Ends the run that computes after its step, its checkpoint written; waits for that.
    func close() {
        let open = desk.withLock { desk in
            desk.isClosed = true
            return Array(desk.runs.values)
        }
        for run in open where run.state == .running { run.wish(.stop) }
        thread.sync {}
    }

    // MARK: Listening

    /// What a run has said and says until it is over or paused, from its first line on.
    func listener(of run: TrainingRun) -> TrainingListener {
        TrainingListener(run: run) { [self] in desk.withLock { $0.isClosed } }
    }
}

/// Reads a run's lines as they are written.
actor TrainingListener {
    private let run: TrainingRun
    private let isClosed: @Sendable () -> Bool
    private var offset: UInt64 = 0
    private var pending: [JSONValue] = []
    private var isOver = false
    private static let pollMilliseconds = 20

    init(run: TrainingRun, isClosed: @escaping @Sendable () -> Bool) {
        self.run = run
        self.isClosed = isClosed
    }

    func next() async throws -> JSONValue? {
        while true {
            if !pending.isEmpty { return pending.removeFirst() }
            if isOver { return nil }
            // The state first: lines come before it.
            let state = run.state, closes = isClosed()
            try read()
            if !pending.isEmpty { continue }
            switch state {
            case .waiting, .running:
                if closes {
                    throw TrainingDeskFault.closed
                }
                try await Task.sleep(for: .milliseconds(Self.pollMilliseconds))
            case .done: isOver = true
            case .paused, .cancelled, .failed:
                isOver = true
                return .object([
                    "event": .string(state == .failed ? "failed" : "done"), "run": .string(run.id),
                    "state": .string(state.rawValue), "reason": .text(run.reason),
                    "steps": .integer(run.progress.step),
                ])
            }
        }
    }

    private func read() throws {
        guard let handle = FileHandle(forReadingAtPath: run.folder.eventsPath) else { return }
        defer { try? handle.close() }
        let size = try handle.seekToEnd()
        // Taken back: a run that goes on says its last lines again, and this reader has said them.
        guard size > offset else { return }
        try handle.seek(toOffset: offset)
        let data = try handle.read(upToCount: 1 << 20) ?? Data()
        guard let end = data.lastIndex(of: 0x0a) else { return }
        for line in data[...end].split(separator: 0x0a) { pending.append(try JSONValue.parse([UInt8](line))) }
        offset += UInt64(data.distance(from: data.startIndex, to: end) + 1)
    }
}
