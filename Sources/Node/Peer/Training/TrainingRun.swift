// One run, from its folder to an adapter on the shelf. It lives on the desk's thread, a step at a time, and gives way to
// answers before each step.
//
//     waiting ──▶ running ──▶ done
//        ▲           │ ├────▶ failed
//        └── paused ◀┘ └────▶ cancelled          a peer that stops, or is killed: running, gone on with at the next start

import Arithmetic
import Dispatch
import Foundation
import Inference
import ModelFiles
import Primitives
import Records
import Storage
import Synchronization
import Training

/// What runs share.
struct TrainingMeans: Sendable {
    let shelf: ModelShelf
    let key: SigningKey
    let network: NetworkID
    let threads: Int
    let room: WeightRoom
    let prepared: PreparedShelf?
    /// Whether answers are being computed.
    let isServing: @Sendable () -> Bool
}

package final class TrainingRun: Sendable {
    package let id: String
    package let order: TrainingOrder
    package let folder: TrainingFolder
    private let key: [UInt8]
    private let status: Mutex<Status>

    private struct Status {
        var state: TrainingState
        var reason: String?
        var wish: Wish?
        var step = 0
        var loss: Double?
    }

    enum Wish: Sendable { case pause, cancel, stop }

    /// Why a run ends before its last step.
    enum Interruption: Error {
        case wish(Wish)
        case fault(String)
    }

    init(id: String, key: [UInt8], order: TrainingOrder, folder: TrainingFolder) {
        self.id = id
        self.key = key
        self.order = order
        self.folder = folder
        let kept = folder.state
        status = Mutex(Status(state: kept?.state ?? .waiting, reason: kept?.reason))
    }

    package var state: TrainingState { status.withLock { $0.state } }
    package var reason: String? { status.withLock { $0.reason } }
    package var progress: (step: Int, loss: Double?) { status.withLock { ($0.step, $0.loss) } }

    func wish(_ wish: Wish) { status.withLock { $0.wish = wish } }

    /// A run that waits, or is paused, is decided upon at once; one that runs ends after its step.
    func set(_ state: TrainingState, reason: String? = nil) throws(HomeFault) {
        try folder.keep(state, reason: reason)
        status.withLock {
            $0.state = state
            $0.reason = reason
            $0.wish = nil
        }
    }

    var isWished: Bool { status.withLock { $0.wish != nil } }

    func checkWish() throws(Interruption) {
        if let wish = status.withLock({ $0.wish }) { throw .wish(wish) }
    }

    // MARK: On the desk's thread

    /// - Returns: the adapter, once it is on the shelf.
    func perform(_ means: TrainingMeans) -> (CID, FolderManifest)? {
        guard state == .waiting else { return nil }
        status.withLock { $0.state = .running }
        do {
            let made = try train(means)
            try set(.done)
            return made
        } catch let interruption as Interruption {
            switch interruption {
            case .wish(.stop): status.withLock { $0.state = .waiting }
            case .wish(.pause): finish(.paused, nil)
            case .wish(.cancel): finish(.cancelled, nil)
            case .fault(let reason): finish(.failed, reason)
            }
        } catch {
            finish(.failed, "\(error)")
        }
        return nil
    }

    private func finish(_ state: TrainingState, _ reason: String?) {
        do {
            try set(state, reason: reason)
        } catch {
            status.withLock {
                $0.state = .failed
                $0.reason = "\(error)"
            }
        }
    }

    private func train(_ means: TrainingMeans) throws -> (CID, FolderManifest) {
        let start = DispatchTime.now().uptimeNanoseconds
        let base = try means.shelf.folder(order.model),
            engine = EngineKey(model: order.model, precision: order.precision)
        let plan = try WeightPlan(folder: base, precision: order.precision)
        guard let claim = means.room.claim(plan.whole) else {
            throw Interruption.fault(
                "\(order.modelName) takes \(plan.whole) bytes to train beside; memory.models leaves \(means.room.left)")
        }
        defer { withExtendedLifetime(claim) {} }
        let model = try LoadedModel(
            folder: base, precision: order.precision, prepared: means.prepared?.weights(engine))
        let rows = try TrainingRows(jsonl: folder.bytes(folder.rowsPath) ?? [], file: "rows", model: model)
        let heldOut = try folder.bytes(folder.evaluationPath).map {
            try TrainingRows(jsonl: $0, file: "evaluation rows", model: model)
        }
        let initial = try folder.initial.map { try AdapterFactors(folder: $0, config: model.config) }
        let pool = WorkerThreads(width: means.threads)
        let trainer = try Trainer(
            model: model, rows: rows.rows, heldOut: heldOut?.rows ?? [], settings: order.settings, initial: initial,
            pool: pool, keptBytesMax: TrainingDeskLimit.keptBytesMax)
        let isResumed = folder.bytes(folder.checkpointPath).map {
            TrainingCheckpoint.restore($0, into: trainer, key: key)
        }
        try folder.truncateEvents(after: trainer.step)
        status.withLock { $0.step = trainer.step }
        let spoken = Speaker(run: self, trainer: trainer, rows: rows, heldOut: heldOut, start: start)
        if isResumed != true {
            try folder.truncateEvents(after: -1)
            try spoken.begin(model: model, pool: pool, initial: initial, memory: plan.whole)
        }
        try advance(trainer, spoken, means)
        let files = try written(trainer, initial, rows, means)
        let made = try means.shelf.importFolder(
            path: folder.adapterPath, kind: .adapter, name: order.name, base: order.model)
        try copyOut(files)
        try spoken.end(made.0, out: order.out)
        unlink(folder.checkpointPath)
        return made
    }

    private func advance(_ trainer: Trainer, _ spoken: Speaker, _ means: TrainingMeans) throws {
        var checkpointed = DispatchTime.now()
        func checkpoint() throws {
            try Home.writeWhole(TrainingCheckpoint.bytes(of: trainer, key: key), to: folder.checkpointPath)
            checkpointed = DispatchTime.now()
        }
        while !trainer.isDone {
            do {
                try checkWish()
                try giveWay(means)
            } catch {
                try checkpoint()
                throw error
            }
            let start = DispatchTime.now().uptimeNanoseconds
            let step = try trainer.advance()
            let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
            status.withLock {
                $0.step = step.step
                $0.loss = step.loss
            }
            try spoken.say(step, seconds: seconds)
            let age = Double(DispatchTime.now().uptimeNanoseconds - checkpointed.uptimeNanoseconds) / 1e9
            if age > TrainingDeskLimit.checkpointSeconds { try checkpoint() }
        }
        // What follows may be cut off too.
        try checkpoint()
    }

    /// Answers come first: a step waits while there are any, but not for ever.
    private func giveWay(_ means: TrainingMeans) throws(Interruption) {
        let begin = DispatchTime.now().uptimeNanoseconds
        while means.isServing() {
            try checkWish()
            guard Double(DispatchTime.now().uptimeNanoseconds - begin) / 1e9 < TrainingDeskLimit.yieldSeconds else {
                return
            }
            Thread.sleep(forTimeInterval: 0.002)
        }
    }

    // MARK: The folder that comes out

    private func written(
        _ trainer: Trainer, _ initial: AdapterFactors?, _ rows: TrainingRows, _ means: TrainingMeans
    ) throws -> [(name: String, bytes: [UInt8])] {
        var files = PEFTFolder.files(of: trainer, base: order.modelName, initial: initial)
        let weights = files.first { $0.name == PEFTFolder.weightsName }?.bytes ?? []
        let manifest = TrainingManifest(
            base: order.model, datanet: order.datanet, rows: rows.root, rowCount: rows.rows.count,
            numerics: KernelNumerics.revision, precision: order.precision.rawValue, settings: order.settings,
            initial: folder.initialWeights.map { CID(.raw, hashing: $0) }, weights: Digest(sha256: weights),
            steps: trainer.step)
        let envelope = SignedEnvelope(manifest.encoded(), by: means.key, domain: .training, network: means.network)
        files.append((TrainingManifest.fileName, envelope.encoded()))
        try? FileManager.default.removeItem(atPath: folder.adapterPath)
        try TrainingFolder.makeFolder(folder.adapterPath)
        for file in files { try Home.writeNew(file.bytes, to: "\(folder.adapterPath)/\(file.name)") }
        return files
    }

    /// Into a folder of whoever asked; files of other names in it stay.
    private func copyOut(_ files: [(name: String, bytes: [UInt8])]) throws {
        guard let out = order.out else { return }
        do {
            try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
            for file in files {
                try Data(file.bytes).write(to: URL(fileURLWithPath: "\(out)/\(file.name)"), options: .atomic)
            }
        } catch {
            throw Interruption.fault("\(out) cannot be written: \(error.localizedDescription)")
        }
    }
}
