// A model's engine, with all of its layers here where they fit, else with as many as do and the rest elsewhere.
//
//     weights fit ──▶ whole model
//     else, with a network ──▶ ends and the first layers here, a chain of neighbours behind them
//     else ──▶ a fault that says which layers nobody computes and what to do

import Arithmetic
import Foundation
import Inference
import ModelFiles
import NodeCore
import Primitives
import Records

/// What engines share.
struct EngineMeans: Sendable {
    let room: WeightRoom
    /// That compute one model's answers.
    let threads: Int
    /// Where packed weights are kept; nil where they are not.
    let prepared: PreparedShelf?
    /// Nil before there is a network.
    let door: @Sendable () -> (any LayerDoor)?
    /// Lets go of models that nobody uses.
    let makeRoom: @Sendable () -> Void
}

struct LoadedEngine {
    let engine: Engine
    /// Held for as long as the engine is.
    let claim: WeightClaim?
}

struct EngineLoading {
    /// For engines that end to give their memory back.
    private static let roomSeconds = 3.0
    private static let roomPollSeconds = 0.05

    let key: EngineKey
    let shelf: ModelShelf
    let limits: EngineLimits
    let means: EngineMeans
    let sessions: SessionList

    /// Blocks for as long as disk and neighbours take.
    func load() throws(JobFault) -> LoadedEngine {
        let folder: MappedFolder
        do {
            folder = try shelf.folder(key.model)
        } catch {
            throw JobFault(error, code: "model")
        }
        guard let bytesMax = means.room.bytesMax else { return try whole(folder, nil) }
        let plan = try reading { () throws(ModelFault) in try WeightPlan(folder: folder, precision: key.precision) }
        if let claim = claim(plan.whole, of: bytesMax) { return try whole(folder, claim) }
        return try split(folder, plan, bytesMax)
    }

    private func whole(_ folder: MappedFolder, _ claim: WeightClaim?) throws(JobFault) -> LoadedEngine {
        let weights = means.prepared?.weights(key)
        let model = try reading { () throws(ModelFault) in
            try LoadedModel(folder: folder, precision: key.precision, prepared: weights)
        }
        if weights == nil { means.prepared?.keep(model, as: key) }
        // Packed weights are elsewhere; embeddings are read row by row.
        if [.int8, .int4].contains(key.precision) { folder.release() }
        var limits = limits
        limits.cachePrecision = key.form.cache
        return LoadedEngine(engine: engine(model, limits, nil), claim: claim)
    }

    private func engine(_ model: LoadedModel, _ limits: EngineLimits, _ chain: LayerChain?) -> Engine {
        Engine(
            model: model, limits: limits, pool: WorkerThreads(width: means.threads, weightBytes: model.weightBytes),
            relay: chain)
    }

    private func reading<Value>(_ body: () throws(ModelFault) -> Value) throws(JobFault) -> Value {
        do throws(ModelFault) {
            return try body()
        } catch {
            throw JobFault(.broken, "model", "\(key.model.text) cannot be loaded: \(error)", parameter: "model")
        }
    }

    /// Waits a little for models that make room.
    private func claim(_ bytes: Int, of bytesMax: Int) -> WeightClaim? {
        guard bytes <= bytesMax else { return nil }
        let deadline = Date(timeIntervalSinceNow: Self.roomSeconds)
        while true {
            if let claim = means.room.claim(bytes) { return claim }
            guard Date() < deadline else { return nil }
            means.makeRoom()
            Thread.sleep(forTimeInterval: Self.roomPollSeconds)
        }
    }

    /// What of it can be here, and the neighbours for the rest.
    private func split(
        _ folder: MappedFolder, _ plan: WeightPlan, _ bytesMax: Int
    ) throws(JobFault) -> LoadedEngine {
        let name = shelf.entry(key.model)?.name ?? key.model.text, left = means.room.left
        guard key.form.cache == .f32 else {
            throw JobFault(
                .unavailable, "memory",
                "\(name) does not fit memory.models, and neighbours keep keys and values in f32 only; set cache = \"f32\"",
                parameter: "model")
        }
        guard let part = plan.part(from: 0, bytesMax: left, hasEnds: true),
            let claim = means.room.claim(plan.bytes(of: part))
        else {
            throw JobFault(
                .unavailable, "memory",
                "the embeddings and the head of \(name) alone take \(plan.ends) bytes; memory.models leaves \(left) of \(bytesMax)",
                parameter: "model")
        }
        guard let door = means.door() else {
            throw JobFault.layersMissing(
                "\(name) takes \(plan.whole) bytes at \(key.precision.rawValue), memory.models leaves \(left), and there is no network to compute the layers that do not fit"
            )
        }
        let wanted = LayerChain.Wanted(
            model: key.model, name: name, precision: key.precision.rawValue, numerics: KernelNumerics.revision,
            hidden: plan.config.hidden)
        var limits = self.limits
        limits.cachePrecision = .f32
        let chain: LayerChain
        do throws(StageFault) {
            chain = try LayerChain(
                wanted, gaps: [part.layers.upperBound..<plan.layers.count],
                pages: { stages in
                    Engine.pagesWanted(plan.config, limits: limits, layers: part.layers.count, stages: stages)
                }, door: door, sessions: sessions)
        } catch {
            throw JobFault.layersMissing(error.description)
        }
        let model = try reading { () throws(ModelFault) in
            try LoadedModel(
                folder: folder, precision: key.precision, prepared: means.prepared?.weights(key), part: part)
        }
        return LoadedEngine(engine: engine(model, limits, chain), claim: claim)
    }
}

extension JobFault {
    static func layersMissing(_ reason: String) -> JobFault {
        JobFault(.unavailable, "layers_missing", reason, parameter: "model", retryAfterSeconds: 10)
    }
}
