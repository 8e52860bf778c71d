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
    let estimator: TrainingEstimator
    private let logger: Logger
    private let desk = Mutex(Desk())
    /// Folders are made one after the other.
    private let starting = Mutex(())
    private let thread = DispatchQueue(label: "openledger.training", qos: .utility)
    /// Tells the network of an adapter that was made.
    private let made: @Sendable (CID, FolderManifest) -> Void

    init(
        path: String, means: TrainingMeans, logger: Logger, made: @escaping @Sendable (CID, FolderManifest) -> Void
    ) {
        self.path = path
        self.means = means
        estimator = TrainingEstimator(means: means)
        self.logger = logger
        self.made = made
    }

    /// Finds what an earlier run of the peer left. Reads a few small files a run; rows are read, and held against the name,
    /// when the run's turn comes.
    /// - Parameter goesOn: whether that is gone on with now, rather than when it is asked again.
    func begin(goesOn: Bool = true) {
        let names = ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
        for name in names {
            let folder = TrainingFolder(path: "\(path)/\(name)")
            guard !name.hasSuffix(TrainingFolder.partialSuffix) else {
                // A folder that a peer was making when it was killed.
                try? FileManager.default.removeItem(atPath: folder.path)
                continue
            }
            guard name.count == Self.idLength, Hex.decode(name) != nil, let order = folder.order else {
                logger.notice("\(folder.path) is no training run and is left alone")
                continue
            }
            let run = TrainingRun(id: name, order: order, folder: folder)
            desk.withLock { desk in
                desk.runs[name] = run
                desk.order.append(name)
            }
            if goesOn, run.state == .waiting { enqueue(run) }
        }
    }

    private static let idLength = 16
    static func id(_ key: [UInt8]) -> String { String(Hex.encode(key).prefix(idLength)) }

    /// Names a run: the same base, order and rows.
    static func key(_ order: TrainingOrder, rows: [UInt8], evaluation: [UInt8]?, initial: [UInt8]?) -> [UInt8] {
        Digest(
            sha256Of: [
                order.json.serialized(), [0], Digest(sha256: rows).bytes, Digest(sha256: evaluation ?? []).bytes,
                Digest(sha256: initial ?? []).bytes,
            ]
        ).bytes
    }

    // MARK: Any thread

    package var runs: [TrainingRun] { desk.withLock { desk in desk.order.compactMap { desk.runs[$0] } } }

    package func run(_ id: String) throws(TrainingDeskFault) -> TrainingRun {
        guard let run = desk.withLock({ $0.runs[id] }) else { throw .unknown(id) }
        return run
    }

    /// Blocks while rows go to the disk; two that are asked for at once come one after the other.
    /// - Returns: the run, and whether it was there already and is joined.
    package func start(
        _ order: TrainingOrder, rows: [UInt8], evaluation: [UInt8]?, initial: [(name: String, bytes: [UInt8])]
    ) throws(TrainingDeskFault) -> (run: TrainingRun, isJoined: Bool) {
        let weights = initial.first { $0.name == PEFTFolder.weightsName }?.bytes
        let id = Self.id(Self.key(order, rows: rows, evaluation: evaluation, initial: weights))
        return try starting.withLock { _ throws(TrainingDeskFault) in
            let (known, isClosed) = desk.withLock { ($0.runs[id], $0.isClosed) }
            guard !isClosed else { throw .closed }
            if let known, try known.goOn() {
                enqueue(known)
                return (known, true)
            }
            let folder = TrainingFolder(path: "\(path)/\(id)")
            let open = runs.filter { !$0.state.isOver }.count
            guard open < TrainingDeskLimit.openMax else { throw .full(TrainingDeskLimit.openMax) }
            do throws(HomeFault) {
                try TrainingFolder.makeFolder(path)
                _ = try TrainingFolder.make(
                    at: folder.path, order: order, rows: rows, evaluation: evaluation, initial: initial)
            } catch {
                throw .disk(error)
            }
            let run = TrainingRun(id: id, order: order, folder: folder)
            desk.withLock { desk in
                desk.order.removeAll { $0 == id }
                desk.order.append(id)
                desk.runs[id] = run
            }
            makeRoom()
            enqueue(run)
            return (run, false)
        }
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
            let made = run.perform(means)
            if let made {
                self.made(made.0, made.1)
            } else if run.state == .failed || run.state == .paused, let reason = run.reason {
                logger.warning("training \(run.order.name) is \(run.state.rawValue): \(reason)")
            }
        }
    }

    package func pause(_ id: String) throws(TrainingDeskFault) { try run(id).decide(.pause) }
    package func cancel(_ id: String) throws(TrainingDeskFault) { try run(id).decide(.cancel) }

    package func resume(_ id: String) throws(TrainingDeskFault) {
        let run = try run(id)
        guard try run.goOn() else { throw .over(id, run.state) }
        enqueue(run)
    }

    /// Ends the run that computes after its step, its checkpoint written; waits for that.
    func close() {
        let open = desk.withLock { desk in
            desk.isClosed = true
            return desk.order.compactMap { desk.runs[$0] }
        }
        for run in open { run.stop() }
        thread.sync {}
    }

    // MARK: Listening

    /// What a run has said and says until it is over or paused, from its first line on.
    func listener(of run: TrainingRun) -> TrainingListener {
        TrainingListener(run: run) { [self] in desk.withLock { $0.isClosed } }
    }
}
