// Fine-tuning as people see it: what is asked becomes a run of the training desk, whose lines are told as they come; and what
// an adapter is worth on rows that it has not seen.

import Arithmetic
import Datanets
import Foundation
import Gateway
import Inference
import ModelFiles
import NodeCore
import Primitives
import Records
import Storage
import Synchronization
import Training

extension PeerService {
    // MARK: Runs

    func trainings() -> JSONValue { .object(["runs": .array(peer.trainings.runs.map(json))]) }

    func training(_ id: String) throws(NodeFault) -> JSONValue {
        json(try onDesk { desk throws(TrainingDeskFault) in try desk.run(id) })
    }

    func change(training id: String, _ action: TrainingAction) throws(NodeFault) -> JSONValue {
        try onDesk { desk throws(TrainingDeskFault) in
            switch action {
            case .pause: try desk.pause(id)
            case .resume: try desk.resume(id)
            case .cancel: try desk.cancel(id)
            }
        }
        return try training(id)
    }

    func trainingEvents(_ id: String) throws(NodeFault) -> AsyncThrowingStream<JSONValue, any Error> {
        told(try onDesk { desk throws(TrainingDeskFault) in try desk.run(id) })
    }

    func json(_ run: TrainingRun) -> JSONValue {
        let progress = run.progress, summary = run.summary, isOver = run.state.isOver
        let shelved = summary.adapter.flatMap { peer.shelf.entry($0) }
        return JSONValue.object([
            "run": .string(run.id), "name": .string(run.order.name), "model": .string(run.order.modelName),
            "state": .string(run.state.rawValue), "reason": .text(run.reason), "step": .integer(progress.step),
            "steps": .integer(run.order.settings.steps), "loss": progress.loss.map { .double($0) } ?? .null,
            "precision": .string(run.order.precision.rawValue), "datanet": .text(run.order.datanet?.text),
            "datanet_name": .text(run.order.datanetName),
            "settings": .members(run.order.settings.named.map { JSONMember($0.name, .string($0.value)) }),
        ]).adding(
            summary.members + [
                JSONMember(
                    "remaining_s", isOver ? .null : summary.remaining.map { .double(($0 * 10).rounded() / 10) } ?? .null
                ),
                JSONMember("published", shelved.map { .bool(!$0.isWithheld) } ?? .null),
            ])
    }

    private func onDesk<Value>(
        _ body: (TrainingDesk) throws(TrainingDeskFault) -> Value
    ) throws(NodeFault) -> Value {
        do {
            return try body(peer.trainings)
        } catch {
            switch error {
            case .unknown: throw NodeFault.missing("\(error)", code: "run_not_found")
            case .full: throw NodeFault(.busy, "\(error)", code: "full")
            case .over: throw NodeFault(.conflict, "\(error)", code: "over")
            case .closed: throw Self.stopping
            case .disk: throw NodeFault(.broken, "\(error)", code: "storage")
            }
        }
    }

    /// A run's lines; one that failed ends in a fault, one that is done in the adapter as it is listed.
    private func told(_ run: TrainingRun) -> AsyncThrowingStream<JSONValue, any Error> {
        let listener = peer.trainings.listener(of: run)
        return AsyncThrowingStream(unfolding: { [self] in
            guard let event = try await listener.next() else { return nil }
            switch event["event"]?.text {
            case "failed":
                throw NodeFault(.invalid, event["reason"]?.text ?? "the run failed", code: "training_failed")
            case "done":
                guard let id = event["id"]?.text, let adapter = try? await self.adapter(id) else { return event }
                return event.adding([JSONMember("adapter", adapter)])
            default: return event
            }
        })
    }

    func train(_ wanted: TrainingDescription) async throws(NodeFault) -> AsyncThrowingStream<JSONValue, any Error> {
        told(try await started(wanted))
    }

    /// The run, whether it is new or joined.
    func started(_ wanted: TrainingDescription) async throws(NodeFault) -> TrainingRun {
        try checkName(wanted.name)
        let base = try await trainedModel(wanted.model)
        let initial = try Self.initial(wanted.initial)
        let rows = try await trainingRows(wanted)
        if let fault = rows.splitFault { throw fault }
        let order = try Self.order(wanted, base, rows)
        return try onDesk { desk throws(TrainingDeskFault) in
            try desk.start(order, rows: rows.trained, evaluation: rows.heldOut, initial: initial).run
        }
    }

    /// The files of the adapter to go on from.
    static func initial(_ path: String?) throws(NodeFault) -> [(name: String, bytes: [UInt8])] {
        guard let path else { return [] }
        var files: [(name: String, bytes: [UInt8])] = []
        for name in [PEFTFolder.configName, PEFTFolder.weightsName] {
            files.append((name, try file("\(path)/\(name)", "init")))
        }
        return files
    }

    static func order(
        _ wanted: TrainingDescription, _ base: KnownAsset, _ rows: WantedRows
    ) throws(NodeFault) -> TrainingOrder {
        var order = TrainingOrder(
            model: base.cid, modelName: base.name, name: wanted.name,
            settings: try settings(wanted, rows: lineCount(rows.trained)))
        order.precision = try wanted.precision.map(precision(named:)) ?? .f32
        order.datanet = rows.snapshot
        order.datanetName = rows.snapshot == nil ? nil : wanted.datanet
        order.out = wanted.out
        order.evaluationSteps = wanted.evaluationSteps ?? 0
        order.isWithheld = wanted.publishes == false
        return order
    }

    func trainedModel(_ name: String) async throws(NodeFault) -> KnownAsset {
        let base = try await asset(.model, name, param: "model")
        guard base.shelved != nil else {
            throw NodeFault(
                .conflict, "the model \(base.name) is not held here; pull it first: openledger model pull \(base.name)",
                param: "model", code: "not_held")
        }
        return base
    }

    static func file(_ path: String, _ param: String) throws(NodeFault) -> [UInt8] {
        let size = (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? nil
        guard FileMode.isPlainFile(path), let size, let data = FileManager.default.contents(atPath: path) else {
            throw NodeFault(.invalid, "\(path) cannot be read", param: param, code: "not_readable")
        }
        guard size <= TrainingDeskLimit.rowBytesMax else {
            throw NodeFault(
                .invalid, "\(path) has \(size) bytes; at most \(TrainingDeskLimit.rowBytesMax) are taken", param: param,
                code: "too_long")
        }
        return [UInt8](data)
    }

    /// As JSON lines: those to train on and those to judge by.
    func trainingRows(_ wanted: TrainingDescription) async throws(NodeFault) -> WantedRows {
        let (all, snapshot) = try await allRows(wanted)
        var rows = WantedRows(trained: all, heldOut: nil, snapshot: snapshot)
        if let path = wanted.evaluationRows {
            rows.heldOut = try Self.file(path, "eval_rows")
        } else if let every = wanted.heldOutEvery, every > 0 {
            rows.split(every: every, file: wanted.rows)
        }
        return rows
    }

    /// As JSON lines, and the snapshot that they are.
    private func allRows(_ wanted: TrainingDescription) async throws(NodeFault) -> ([UInt8], CID?) {
        if let path = wanted.rows { return (try Self.file(path, "rows"), nil) }
        guard let name = wanted.datanet else { return ([], nil) }
        let held = try await content(name)
        var lines: [UInt8] = []
        do {
            for try await row in try await export(name) {
                lines += row.serialized() + [0x0a]
                guard lines.count <= TrainingDeskLimit.rowBytesMax else {
                    throw NodeFault(
                        .invalid, "\(name) has more than \(TrainingDeskLimit.rowBytesMax) bytes of rows",
                        param: "datanet", code: "too_long")
                }
            }
        } catch let fault as NodeFault {
            throw fault
        } catch {
            throw NodeFault(.broken, "\(name) cannot be read: \(error)", param: "datanet", code: "storage")
        }
        return (lines, held.snapshot)
    }

    private static func lineCount(_ bytes: [UInt8]) -> Int {
        bytes.split(separator: 0x0a).count { WantedRows.isRow($0) }
    }

    private static func settings(_ wanted: TrainingDescription, rows: Int) throws(NodeFault) -> TrainingSettings {
        var settings = TrainingSettings()
        settings.rank = wanted.rank ?? settings.rank
        settings.alpha = wanted.alpha ?? 2 * Double(settings.rank)
        settings.rootScaled = wanted.rootScaled ?? false
        settings.batch = wanted.batch ?? settings.batch
        settings.learningRate = wanted.learningRate ?? settings.learningRate
        if let text = wanted.schedule {
            guard let schedule = TrainingSettings.Schedule(rawValue: text) else {
                let known = TrainingSettings.Schedule.allCases.map(\.rawValue).joined(separator: " or ")
                throw NodeFault(.invalid, "schedule must be \(known)", param: "schedule", code: "unsupported_value")
            }
            settings.schedule = schedule
        }
        settings.warmup = wanted.warmup ?? settings.warmup
        settings.weightDecay = wanted.weightDecay ?? settings.weightDecay
        if let betas = wanted.betas, betas.count == 2 {
            (settings.firstBeta, settings.secondBeta) = (betas[0], betas[1])
        }
        settings.epsilon = wanted.epsilon ?? settings.epsilon
        settings.clip = wanted.clip ?? settings.clip
        settings.seed = UInt64(wanted.seed ?? 0)
        settings.shuffles = wanted.shuffles ?? true
        settings.heldOutEvery = wanted.heldOutEvery ?? 0
        let steps = (wanted.epochs ?? 1) * Double(rows) / Double(settings.batch)
        settings.steps = wanted.steps ?? Int(min(max(1, steps), Double(TrainingLimit.stepsMax)))
        if let fault = settings.fault { throw NodeFault(.invalid, fault, code: "invalid_value") }
        return settings
    }

    // MARK: Evaluation

    /// Evaluations and verifications that compute at once.
    private static let checksMax = 2

    func beginCheck() throws(NodeFault) {
        let isAdmitted = checks.withLock { checks in
            guard checks < Self.checksMax else { return false }
            checks += 1
            return true
        }
        guard isAdmitted else {
            throw NodeFault(
                .busy, "\(Self.checksMax) adapters are being evaluated or verified already; try again when one is done",
                code: "busy", retryAfterSeconds: 10)
        }
    }

    func endCheck() { checks.withLock { $0 -= 1 } }

    /// Base against adapter on held-out rows.
    func evaluate(_ wanted: EvaluationDescription) async throws(NodeFault) -> AsyncThrowingStream<JSONValue, any Error>
    {
        let adapter = try await asset(.adapter, wanted.adapter)
        guard let shelved = adapter.shelved, let base = shelved.folder.base, peer.shelf.entry(base) != nil else {
            throw NodeFault(
                .conflict, "the adapter \(adapter.name) and its base must be held here; pull them first",
                code: "not_held")
        }
        let rows = try Self.file(wanted.rows, "rows")
        let precision = try wanted.precision.map(Self.precision(named:)) ?? .f32
        let evaluation = AdapterEvaluation(
            shelf: peer.shelf, base: base, adapter: adapter.cid, rows: rows, file: wanted.rows, precision: precision,
            answers: wanted.answers, threads: peer.settings.threads, room: peer.inference.room)
        return lines { emit async throws(NodeFault) in
            try self.beginCheck()
            defer { self.endCheck() }
            let result: Result<JSONValue, NodeFault> = await Task.detached {
                do {
                    return .success(try evaluation.run { emit($0) })
                } catch {
                    return .failure(NodeFault(.invalid, "\(error)", code: "evaluation_failed"))
                }
            }.value
            return try result.get()
        }
    }
}
