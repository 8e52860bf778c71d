// The weights of one layer, by what they are for.

import Arithmetic
import ModelFiles

/// A linear layer and the slot in which an adapter holds its change to it.
struct Linear: Sendable {
    let matrix: PackedMatrix
    let slot: Int
}

struct Layer: Sendable {
    let beforeAttention: [Float]
    let afterAttention: [Float]?
    let beforeFeedForward: [Float]
    let afterFeedForward: [Float]?
    let attention: Attention
    let feedForward: FeedForward

    enum Attention: Sendable {
        case grouped(GroupedAttention)
        case latent(LatentAttention)
    }

    enum FeedForward: Sendable {
        case dense(GatedUnit)
        case experts(ExpertWeights)
    }
}

struct GroupedAttention: Sendable {
    let query: Linear
    let key: Linear
    let value: Linear
    let output: Linear
    /// Over each head, where the model has them.
    let queryNorm: [Float]?
    let keyNorm: [Float]?
}

struct LatentAttention: Sendable {
    let plan: LatentPlan
    let query: Query
    let down: Linear
    let norm: [Float]
    /// By head.
    let keys: [Linear]
    let values: [Linear]
    let output: Linear

    enum Query: Sendable {
        case direct(Linear)
        case bottleneck(down: Linear, norm: [Float], up: Linear)
    }
}

/// down(activation(gate x) * up x).
struct GatedUnit: Sendable {
    let gate: Linear
    let up: Linear
    let down: Linear
}

struct ExpertWeights: Sendable {
    let plan: ExpertPlan
    let router: PackedMatrix
    /// Added to scores where experts are chosen; empty where the model has none.
    let correction: [Float]
    let shared: GatedUnit?
    let experts: [GatedUnit]
}

/// Reads layers out of a model's file.
struct LayerReader {
    let source: ModelSource
    let config: ModelConfig
    let precision: Precision
    /// Matrices that were packed before.
    var prepared: PreparedWeights?

    func layer(_ index: Int) throws(ModelFault) -> Layer {
        let shapes = config.linears(index)
        var linears: [Projection: Linear] = [:]
        linears.reserveCapacity(shapes.count)
        for (slot, shape) in shapes.enumerated() {
            linears[shape.projection] = Linear(matrix: try matrix(shape, layer: index, slot: slot), slot: slot)
        }
        func linear(_ projection: Projection) throws(ModelFault) -> Linear {
            guard let found = linears[projection] else { preconditionFailure("\(projection) is not in the plan") }
            return found
        }
        func unit(_ gate: Projection, _ up: Projection, _ down: Projection) throws(ModelFault) -> GatedUnit {
            GatedUnit(gate: try linear(gate), up: try linear(up), down: try linear(down))
        }
        func norm(_ kind: LayerVector, _ count: Int) throws(ModelFault) -> [Float] {
            try source.vector(config.names(of: kind, layer: index), count: count, offset: config.normOffset)
        }
        let attention: Layer.Attention
        switch config.attention.kind {
        case .grouped(_, let dimension):
            attention = .grouped(
                GroupedAttention(
                    query: try linear(.query), key: try linear(.key), value: try linear(.value),
                    output: try linear(.output),
                    queryNorm: config.attention.headNorms ? try norm(.query, dimension) : nil,
                    keyNorm: config.attention.headNorms ? try norm(.key, dimension) : nil))
        case .latent(let plan):
            let query: LatentAttention.Query =
                if let rank = plan.queryRank {
                    .bottleneck(
                        down: try linear(.queryDown), norm: try norm(.queryLatent, rank), up: try linear(.queryUp))
                } else {
                    .direct(try linear(.query))
                }
            var keys: [Linear] = [], values: [Linear] = []
            for head in 0..<config.heads {
                keys.append(try linear(.headKey(head)))
                values.append(try linear(.headValue(head)))
            }
            attention = .latent(
                LatentAttention(
                    plan: plan, query: query, down: try linear(.latentDown), norm: try norm(.latent, plan.rank),
                    keys: keys, values: values, output: try linear(.output)))
        }
        let feedForward: Layer.FeedForward
        switch config.plans[index].feedForward {
        case .dense: feedForward = .dense(try unit(.gate, .up, .down))
        case .experts(let plan):
            var experts: [GatedUnit] = []
            for expert in 0..<plan.count {
                experts.append(try unit(.expertGate(expert), .expertUp(expert), .expertDown(expert)))
            }
            let corrects = plan.scoring == .correctedSigmoid
            feedForward = .experts(
                ExpertWeights(
                    plan: plan, router: try linear(.router).matrix,
                    correction: corrects
                        ? try source.vector(config.names(of: .expertCorrection, layer: index), count: plan.count) : [],
                    shared: plan.sharedWidth > 0 ? try unit(.sharedGate, .sharedUp, .sharedDown) : nil,
                    experts: experts))
        }
        let normsAfter = config.attention.norms == .beforeAndAfter
        return Layer(
            beforeAttention: try norm(.beforeAttention, config.hidden),
            afterAttention: normsAfter ? try norm(.afterAttention, config.hidden) : nil,
            beforeFeedForward: try norm(.beforeFeedForward, config.hidden),
            afterFeedForward: normsAfter ? try norm(.afterFeedForward, config.hidden) : nil,
            attention: attention, feedForward: feedForward)
    }

    private func matrix(_ shape: LinearShape, layer: Int, slot: Int) throws(ModelFault) -> PackedMatrix {
        let places = config.places(of: shape, layer: layer)
        // One tensor name may stand for two layouts (ffn_up alone, or gate and up in one): the shape decides.
        let found = places.first { place in
            guard let view = source.tensors[place.module + ".weight"] else { return false }
            return view.shape.dropLast().reduce(1, *) == place.totalRows
        }
        guard let place = found ?? places.first(where: { source.tensors[$0.module + ".weight"] != nil }) else {
            throw .malformed(
                file: source.file, reason: "tensor \(places.first?.module ?? "\(shape.projection)").weight is missing")
        }
        let view = try source.tensor([place.module + ".weight"])
        var bias: [Float]?
        if shape.hasBias {
            bias = try source.finite(
                try RowReader(
                    try source.tensor([place.module + ".bias"]), firstRow: place.firstRow, rows: shape.rows,
                    of: place.totalRows, columns: 1, pairedRows: place.pairedRows, file: source.file))
        }
        let precision = shape.staysExact ? .f32 : precision
        let packed = prepared?.matrix(
            MatrixPlace(layer: layer, slot: slot), rows: shape.rows, columns: shape.columns, precision: precision,
            bias: bias)
        if let packed { return packed }
        let (rows, columns) = place.transposed ? (shape.columns, shape.rows) : (shape.rows, shape.columns)
        let reader = try RowReader(
            view, firstRow: place.firstRow, rows: rows, of: place.totalRows, columns: columns,
            pairedRows: place.pairedRows, file: source.file)
        guard place.transposed else {
            return try PackedMatrix(reader, precision: precision, bias: bias, file: source.file)
        }
        let turned = GatheredMatrix(reader, rows: shape.rows, columns: shape.columns) { ($1, $0) }
        defer { withExtendedLifetime(turned) {} }
        return try PackedMatrix(
            try RowReader(turned, file: source.file), precision: precision, bias: bias, file: source.file)
    }
}
