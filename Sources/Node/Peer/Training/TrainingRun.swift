// One run, from its folder to an adapter on the shelf. It lives on the desk's thread, a step at a time, and gives way to
// answers before each step. TrainingStatus draws its states; each change is on the disk before anybody sees it.

import Arithmetic
import Attribution
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
    var speeds = TrainingSpeedBook(path: nil)

    /// Threads that compute.
    var width: Int { min(max(1, threads), WorkerThreads.widthMax) }

    func speed(_ order: TrainingOrder) -> (speed: TrainingSpeed, isMeasured: Bool) {
        speeds.speed(order.model, order.precision, weights: weights(order), threads: width)
    }

    func weights(_ order: TrainingOrder) -> Double { Double(shelf.entry(order.model)?.parameters ?? 0) }
}

package final class TrainingRun: Sendable {
    package let id: String
    package let order: TrainingOrder
    package let folder: TrainingFolder
    private let status: Mutex<TrainingStatus>

    /// Why a run ends before its last step.
    enum Interruption: Error {
        case wish(TrainingStatus.Wish)
        case fault(String)
        /// What can be put right: a full disk, a folder that cannot be written. The run is paused.
        case halt(String)
    }

    init(id: String, order: TrainingOrder, folder: TrainingFolder) {
        self.id = id
        self.order = order
        self.folder = folder
        let status: TrainingStatus
        switch folder.kept {
        case .nothing: status = TrainingStatus(state: .waiting)
        case .state(let kept):
            status = kept
            // A peer that was killed just before.
            if kept.state.isOver { folder.clear() }
        case .damaged(let reason): status = TrainingStatus(state: .failed, reason: reason)
        }
        self.status = Mutex(status)
    }

    package var state: TrainingState { status.withLock { $0.state } }
    package var reason: String? { status.withLock { $0.reason } }
    package var progress: (step: Int, loss: Double?) { status.withLock { ($0.step, $0.loss) } }
    var summary: TrainingSummary { status.withLock { $0.summary } }

    func note(_ change: (inout TrainingSummary) -> Void) { status.withLock { change(&$0.summary) } }

    // MARK: Any thread

    /// A run that waits, or is paused, is decided upon at once; one that runs ends after its step.
    func decide(_ wish: TrainingStatus.Wish) throws(TrainingDeskFault) {
        try status.withLock { status throws(TrainingDeskFault) in
            switch status.hear(wish) {
            case .enter(let state): try settle(&status, state)
            case .noted: break
            case .over(let state): throw .over(id, state)
            }
        }
    }

    /// - Returns: false where the run is over.
    func goOn() throws(TrainingDeskFault) -> Bool {
        try status.withLock { status throws(TrainingDeskFault) in
            switch status.resume() {
            case .enter(let state): try settle(&status, state)
            case .noted: break
            case .over: return false
            }
            return true
        }
    }

    /// The peer ends: the run computes no other step, and does not begin.
    func stop() { status.withLock { _ = $0.hear(.stop) } }

    /// Durable, then visible.
    private func settle(
        _ status: inout TrainingStatus, _ state: TrainingState, reason: String? = nil
    ) throws(TrainingDeskFault) {
        do throws(HomeFault) {
            try folder.keep(state, reason: reason, status)
        } catch {
            throw .disk(error)
        }
        if state.isOver { folder.clear() }
        status.enter(state, reason: reason)
    }

    var isWished: Bool { status.withLock { $0.wish != nil } }

    func checkWish() throws(Interruption) {
        if let wish = status.withLock({ $0.wish }) { throw .wish(wish) }
    }

    // MARK: On the desk's thread

    /// - Returns: the adapter, once it is on the shelf.
    func perform(_ means: TrainingMeans) -> (CID, FolderManifest)? {
        guard status.withLock({ $0.begin() }) else { return nil }
        do {
            let made = try train(means)
            finish(.done, nil)
            return made
        } catch let interruption as Interruption {
            switch interruption {
            case .wish(.stop): status.withLock { $0.enter(.waiting) }
            case .wish(.pause): finish(.paused, nil)
            case .wish(.cancel): finish(.cancelled, nil)
            case .fault(let reason): finish(.failed, reason)
            case .halt(let reason): halt(reason)
            }
        } catch let fault as HomeFault {
            halt("\(fault)")
        } catch {
            finish(.failed, "\(error)")
        }
        return nil
    }

    private func halt(_ reason: String) {
        finish(.paused, "\(reason); put that right, then: openledger adapter runs \(id) --resume")
    }

    private func finish(_ state: TrainingState, _ reason: String?) {
        status.withLock { status in
            do throws(TrainingDeskFault) {
                try settle(&status, state, reason: reason)
            } catch {
                // A disk that does not even take that has the last checkpoint still.
                status.enter(.paused, reason: [reason, "\(error)"].compactMap(\.self).joined(separator: "; "))
            }
        }
    }

    private func train(_ means: TrainingMeans) throws -> (CID, FolderManifest) {
        let start = DispatchTime.now().uptimeNanoseconds, watch = MemoryWatch()
        let (key, rowBytes) = try input()
        if let out = order.out { try Self.checkFolder(out) }
        let base = try means.shelf.folder(order.model),
            engine = EngineKey(model: order.model, precision: order.precision)
        let plan = try WeightPlan(folder: base, precision: order.precision)
        guard let weightClaim = means.room.claim(plan.whole) else {
            throw Interruption.fault(
                TrainingPlan.noRoom(weights: plan.whole, model: order.modelName, left: means.room.left))
        }
        defer { withExtendedLifetime(weightClaim) {} }
        let model = try LoadedModel(
            folder: base, precision: order.precision, prepared: means.prepared?.weights(engine))
        let rows = try TrainingRows(jsonl: rowBytes, file: "rows", model: model)
        let heldOut = try folder.bytes(folder.evaluationPath).map {
            try TrainingRows(jsonl: $0, file: "evaluation rows", model: model)
        }
        let initial = try folder.initial.map { try AdapterFactors(folder: $0, config: model.config) }
        let pool = WorkerThreads(width: means.width)
        let training = TrainingPlan(
            base: TrainingBase(model), rows: rows, heldOut: heldOut, initial: initial, settings: order.settings,
            evaluationSteps: order.evaluationSteps, width: pool.width)
        let (taken, buffers) = try training.fit { means.room.claim($0) }
        guard let claim = taken else {
            throw Interruption.fault(training.noRoom(buffers, model: order.modelName, left: means.room.left))
        }
        defer { withExtendedLifetime(claim) {} }
        let trainer = try Trainer(
            model: model, rows: rows.rows, heldOut: heldOut?.rows ?? [], settings: order.settings, initial: initial,
            pool: pool, keptBytesMax: buffers.keptBytesMax)
        let isResumed = folder.bytes(folder.checkpointPath).map {
            TrainingCheckpoint.restore($0, into: trainer, key: key)
        }
        try folder.truncateEvents(after: trainer.step)
        status.withLock { $0.step = trainer.step }
        let spoken = Speaker(
            run: self, trainer: trainer, rows: rows, heldOut: heldOut, plan: training, means: means, start: start,
            watch: watch)
        if isResumed == true {
            spoken.goOn()
        } else {
            try folder.truncateEvents(after: -1)
            try spoken.begin(model: model, pool: pool, weights: plan.whole, buffers)
        }
        try advance(trainer, spoken, key, means)
        let index = try influence(trainer, rows, jsonl: rowBytes, spoken, means)
        let files = try written(trainer, initial, rows, index, means)
        let made: (CID, FolderManifest)
        do {
            made = try means.shelf.importFolder(
                path: folder.adapterPath, kind: .adapter, name: order.name, base: order.model,
                isWithheld: order.isWithheld)
        } catch {
            throw Interruption.halt("the adapter is trained and cannot be put on the shelf: \(error)")
        }
        try copyOut(files)
        try spoken.end(made.0, out: order.out)
        return made
    }

    /// The run's key and its rows: the files are those that the run was named by.
    private func input() throws -> (key: [UInt8], rows: [UInt8]) {
        guard let rows = folder.bytes(folder.rowsPath) else {
            throw Interruption.fault("\(folder.rowsPath) cannot be read; start the run again")
        }
        let key = TrainingDesk.key(
            order, rows: rows, evaluation: folder.bytes(folder.evaluationPath), initial: folder.initialWeights)
        guard TrainingDesk.id(key) == id else {
            throw Interruption.fault(
                "the files in \(folder.path) are not those that the run began with; start it again")
        }
        return (key, rows)
    }

    private func advance(_ trainer: Trainer, _ spoken: Speaker, _ key: [UInt8], _ means: TrainingMeans) throws {
        func seconds(since start: UInt64) -> Double { Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9 }
        var checkpointed = DispatchTime.now().uptimeNanoseconds, wait = TrainingDeskLimit.checkpointSecondsMin
        func checkpoint() throws {
            let start = DispatchTime.now().uptimeNanoseconds
            try Home.writeWhole(TrainingCheckpoint.bytes(of: trainer, key: key), to: folder.checkpointPath)
            wait = max(
                TrainingDeskLimit.checkpointSecondsMin, TrainingDeskLimit.checkpointShare * seconds(since: start))
            checkpointed = DispatchTime.now().uptimeNanoseconds
        }
        defer { spoken.teach() }
        while !trainer.isDone {
            do throws(Interruption) {
                try checkWish()
                try giveWay(means)
            } catch {
                if case .wish(.cancel) = error { throw error }
                try checkpoint()
                throw error
            }
            let start = DispatchTime.now().uptimeNanoseconds
            let step = try trainer.advance()
            let took = seconds(since: start)
            status.withLock {
                $0.step = step.step
                $0.loss = step.loss
            }
            try spoken.say(step, seconds: took)
            if seconds(since: checkpointed) > wait { try checkpoint() }
        }
        // What follows may be cut off too.
        try checkpoint()
    }

    /// Answers come first: a step waits while there are any, but not for ever.
    func giveWay(_ means: TrainingMeans) throws(Interruption) {
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
        _ trainer: Trainer, _ initial: AdapterFactors?, _ rows: TrainingRows, _ index: InfluenceIndex?,
        _ means: TrainingMeans
    ) throws -> [(name: String, bytes: [UInt8])] {
        var files = PEFTFolder.files(of: trainer, base: order.modelName, initial: initial)
        let weights = files.first { $0.name == PEFTFolder.weightsName }?.bytes ?? []
        let manifest = TrainingManifest(
            base: order.model, datanet: order.datanet, rows: rows.root, rowCount: rows.rows.count,
            numerics: KernelNumerics.revision, precision: order.precision.rawValue, settings: order.settings,
            initial: folder.initialWeights.map { CID(.raw, hashing: $0) }, weights: Digest(sha256: weights),
            steps: trainer.step, influence: index?.cid)
        if let index { files.append((InfluenceIndex.fileName, index.bytes)) }
        let envelope = SignedEnvelope(manifest.encoded(), by: means.key, domain: .training, network: means.network)
        files.append((TrainingManifest.fileName, envelope.encoded()))
        try? FileManager.default.removeItem(atPath: folder.adapterPath)
        try TrainingFolder.makeFolder(folder.adapterPath)
        for file in files { try Home.writeNew(file.bytes, to: "\(folder.adapterPath)/\(file.name)") }
        return files
    }

    /// Before the first step rather than after the last.
    private static func checkFolder(_ path: String) throws {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw Interruption.fault("\(path) cannot be made: \(error.localizedDescription)")
        }
        guard access(path, W_OK) == 0 else {
            throw Interruption.fault("\(path) cannot be written: \(String(cString: strerror(errno)))")
        }
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
            throw Interruption.halt(
                "the adapter is trained and cannot be written to \(out): \(error.localizedDescription)")
        }
    }
}
