// What training would take, said before it begins. One estimate is made at a time, on a thread of its own: a long file of rows
// keeps neither the node nor a run waiting. What the last one read is kept for the next, who asks again with each keystroke.

import Arithmetic
import Datanets
import Dispatch
import Foundation
import Inference
import ModelFiles
import Primitives
import Synchronization
import Training

/// Everything that a run would have.
struct TrainingQuestion: Sendable {
    var order: TrainingOrder
    var rows: [UInt8]
    /// What faults call them.
    var file: String
    var heldOut: [UInt8]?
    /// The files of an adapter to go on from; none for a new one.
    var initial: [(name: String, bytes: [UInt8])]
}

struct TrainingEstimate: Sendable {
    struct Fault: Sendable {
        /// The request's field.
        var param: String?
        var code: String
        var message: String
    }

    var faults: [Fault] = []
    var warnings: [Fault] = []
    var rowFaults: [RowFault] = []
    var rowFaultCount = 0
    var rowCount: Int?
    var heldOutCount: Int?
    var tokenCount: Int?
    var cutCount: Int?
    var parameters: Int?
    var memoryBytes: Int?
    var seconds: Double?
    var isMeasured = false
}

final class TrainingEstimator: Sendable {
    private struct Read {
        let key: Digest
        let rows: TrainingRows
    }
    private struct Kept {
        var base: (key: String, base: TrainingBase)?
        /// Those trained on and those held out.
        var rows: [Read] = []
    }

    private let means: TrainingMeans
    private let thread = DispatchQueue(label: "openledger.estimates", qos: .utility)
    private let waiting = Mutex(0)
    private let kept = Mutex(Kept())

    init(means: TrainingMeans) { self.means = means }

    /// - Returns: nil where too many wait already.
    func estimate(_ question: TrainingQuestion) async -> TrainingEstimate? {
        let isIn = waiting.withLock { waiting in
            guard waiting < TrainingDeskLimit.estimatesMax else { return false }
            waiting += 1
            return true
        }
        guard isIn else { return nil }
        defer { waiting.withLock { $0 -= 1 } }
        return await withCheckedContinuation { continuation in
            thread.async { [self] in continuation.resume(returning: made(question)) }
        }
    }

    // MARK: On the thread

    private func made(_ question: TrainingQuestion) -> TrainingEstimate {
        var estimate = TrainingEstimate()
        let order = question.order
        do {
            let folder = try means.shelf.folder(order.model)
            let base = try base(order, folder)
            try base.config.checkTrainable()
            guard check(question, &estimate) else { return estimate }
            let rows = try read(question.rows, question.file, base, order)
            let heldOut = try question.heldOut.map { try read($0, "evaluation rows", base, order) }
            estimate.rowCount = rows.rows.count
            estimate.heldOutCount = heldOut?.rows.count ?? 0
            estimate.tokenCount = rows.tokenCount
            estimate.cutCount = rows.cutCount
            let initial =
                question.initial.isEmpty
                ? nil : try AdapterFactors(folder: MemoryFolder(question.initial), config: base.config)
            let plan = TrainingPlan(
                base: base, rows: rows, heldOut: heldOut, initial: initial, settings: order.settings,
                evaluationSteps: order.evaluationSteps, width: means.width)
            estimate.parameters = Trainer.parameterCount(base: base, settings: order.settings, initial: initial)
            try weigh(plan, order, folder, &estimate)
        } catch let fault as ModelFault {
            estimate.faults.append(.init(param: "model", code: "not_trainable", message: "\(fault)"))
        } catch let fault as TrainingFault {
            let isOfRows = if case .rows = fault { true } else { false }
            estimate.faults.append(
                .init(
                    param: isOfRows ? (order.datanet == nil ? "rows" : "datanet") : nil,
                    code: isOfRows ? "rows_with_faults" : "invalid_value", message: "\(fault)"))
        } catch {
            estimate.faults.append(.init(param: "model", code: "not_readable", message: "\(error)"))
        }
        return estimate
    }

    private func weigh(
        _ plan: TrainingPlan, _ order: TrainingOrder, _ folder: any ModelFolder, _ estimate: inout TrainingEstimate
    ) throws {
        let weights = try WeightPlan(folder: folder, precision: order.precision).whole, left = means.room.left
        let (fits, buffers) = try plan.fit { $0 <= left - weights ? true : nil }
        estimate.memoryBytes = weights + buffers.bytes + buffers.index
        if weights > left {
            let message = TrainingPlan.noRoom(weights: weights, model: order.modelName, left: left)
            estimate.faults.append(.init(param: "model", code: "no_memory", message: message))
        } else if fits == nil {
            let message = plan.noRoom(buffers, model: order.modelName, left: left - weights)
            estimate.faults.append(.init(param: "rank", code: "no_memory", message: message))
        }
        let (speed, isMeasured) = means.speed(order)
        estimate.seconds = speed.seconds(of: plan.work)
        estimate.isMeasured = isMeasured
        if let cut = estimate.cutCount, cut > 0 {
            estimate.warnings.append(
                .init(
                    param: nil, code: "rows_cut",
                    message: cut == 1
                        ? "1 row is longer than the model takes and is cut"
                        : "\(cut) rows are longer than the model takes and are cut"))
        }
    }

    /// Rows of text: every fault with its line and field, not only the first.
    private func check(_ question: TrainingQuestion, _ estimate: inout TrainingEstimate) -> Bool {
        guard !RowWriter.holdsTokens(question.rows) else { return true }
        let isKnown = kept.withLock { kept in
            kept.rows.contains { $0.key == Self.key(question.rows, question.order) }
        }
        guard !isKnown else { return true }
        let file = RowFile(jsonl: question.rows, name: question.file)
        guard file.faultCount > 0 else { return true }
        estimate.rowFaults = file.faults
        estimate.rowFaultCount = file.faultCount
        let count = file.faultCount == 1 ? "1 row has a fault" : "\(file.faultCount) rows have faults"
        estimate.faults.append(
            .init(
                param: question.order.datanet == nil ? "rows" : "datanet", code: "rows_with_faults",
                message: "\(count); first: \(file.faults.first.map(\.description) ?? "")"))
        return false
    }

    private func base(_ order: TrainingOrder, _ folder: any ModelFolder) throws -> TrainingBase {
        let key = TrainingSpeeds.key(order.model, order.precision)
        if let held = kept.withLock({ $0.base }), held.key == key { return held.base }
        let base = try TrainingBase(folder: folder, precision: order.precision)
        kept.withLock { $0.base = (key, base) }
        return base
    }

    private static func key(_ rows: [UInt8], _ order: TrainingOrder) -> Digest {
        Digest(sha256Of: [Digest(sha256: rows).bytes, order.model.bytes])
    }

    private func read(
        _ bytes: [UInt8], _ file: String, _ base: TrainingBase, _ order: TrainingOrder
    ) throws -> TrainingRows {
        let key = Self.key(bytes, order)
        if let held = kept.withLock({ $0.rows.first { $0.key == key } }) { return held.rows }
        let rows = try TrainingRows(jsonl: bytes, file: file, base: base)
        kept.withLock { kept in
            kept.rows = Array(kept.rows.suffix(1)) + [Read(key: key, rows: rows)]
            let tokens = kept.rows.reduce(0) { $0 + $1.rows.tokenCount }
            if tokens > TrainingDeskLimit.estimateTokensKept { kept.rows = [] }
        }
        return rows
    }
}
