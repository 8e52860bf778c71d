// The second half of a layer with experts: each row goes to the few that its scores choose, beside the one that all share.
// Rows are gathered expert by expert, so that every expert's matrices are read once a step; each row's answers are added
// in the order of its choice, so that who shares the batch changes no bit.

import Arithmetic
import Kernels

/// Rows gathered by expert. Place p holds one row for one of the experts that it uses.
final class ExpertSpace {
    let input: Activations
    let output: Rows
    let scores: Rows
    /// [row][choice]: the expert, its weight and its place.
    let expert: UnsafeMutablePointer<Int>
    let weight: UnsafeMutablePointer<Float>
    let place: UnsafeMutablePointer<Int>
    /// By place: the row, or -1.
    let row: UnsafeMutablePointer<Int>
    /// By expert: the first place and how many follow.
    let first: UnsafeMutablePointer<Int>
    let count: UnsafeMutablePointer<Int>
    let groupScores: UnsafeMutablePointer<Float>
    /// Choice scores of one row a slice.
    let ranking: Rows

    /// Places that a batch of so many rows may need, each expert's share rounded up; 0 for a model without experts.
    static func rows(_ config: ModelConfig, batchRows: Int) -> Int {
        var most = 0
        for plan in config.plans {
            guard case .experts(let plan) = plan.feedForward else { continue }
            let places = batchRows * plan.used
            most = max(most, places + min(plan.count, places) * (Workspace.expertRowAlignment - 1))
        }
        return most
    }

    init(_ config: ModelConfig, arena: FloatArena, batchRows: Int, input: Activations) {
        var experts = 1, used = 1
        for plan in config.plans {
            guard case .experts(let plan) = plan.feedForward else { continue }
            experts = max(experts, plan.count)
            used = max(used, plan.used)
        }
        let places = Self.rows(config, batchRows: batchRows)
        self.input = input
        let scoreStride = (experts + 31) / 32 * 32
        output = Rows(values: arena.make(Float.self, places * input.stride), stride: input.stride)
        scores = Rows(values: arena.make(Float.self, batchRows * scoreStride), stride: scoreStride)
        ranking = Rows(values: arena.make(Float.self, batchRows * scoreStride), stride: scoreStride)
        expert = arena.make(Int.self, batchRows * used)
        weight = arena.make(Float.self, batchRows * used)
        place = arena.make(Int.self, batchRows * used)
        row = arena.make(Int.self, places)
        first = arena.make(Int.self, experts)
        count = arena.make(Int.self, experts)
        groupScores = arena.make(Float.self, batchRows * experts)
    }
}

extension Transformer {
    func feedForward(_ weights: ExpertWeights, _ steps: LayerSteps, _ input: NormedInput, layer: Int) {
        guard let space = space.experts else { preconditionFailure("the plan has no experts") }
        let stream = self.space
        prepare(stream.normed, for: steps.feedForwardInput, layer: layer) { makeInput($0, input) }
        route(weights, space)
        if let shared = weights.shared {
            multiplyUnit(shared, steps, layer: layer)
        } else {
            for row in 0..<rows { stream.delta[row].update(repeating: 0, count: config.hidden) }
        }
        multiplyExperts(weights, space, layer: layer)
        let used = weights.plan.used
        pool.run(count: width) { slice in
            let (from, to) = part(rows, slice)
            for row in from..<to {
                for choice in row * used..<(row + 1) * used {
                    kernel_add_scaled(
                        isa, stream.delta[row], space.output[space.place[choice]], config.hidden, space.weight[choice])
                }
            }
        }
    }

    /// Scores, choices and places of every row.
    private func route(_ weights: ExpertWeights, _ space: ExpertSpace) {
        let plan = weights.plan, router = weights.router
        pool.run(count: width) { slice in
            let (from, to) = part(rows, slice)
            guard from < to else { return }
            let normed = self.space.normed
            router.multiply(
                isa: isa, from: 0, to: router.tiles, input: normed.from(from), output: space.scores[from],
                stride: space.scores.stride, tokens: to - from)
            for row in from..<to { choose(row, plan, weights.correction, space) }
        }
        for expert in 0..<plan.count { space.count[expert] = 0 }
        for choice in 0..<rows * plan.used { space.count[space.expert[choice]] += 1 }
        var next = 0
        for expert in 0..<plan.count {
            space.first[expert] = next
            next +=
                (space.count[expert] + Workspace.expertRowAlignment - 1) / Workspace.expertRowAlignment
                * Workspace.expertRowAlignment
            space.count[expert] = 0
        }
        for row in 0..<rows {
            for choice in row * plan.used..<(row + 1) * plan.used {
                let expert = space.expert[choice], place = space.first[expert] + space.count[expert]
                space.place[choice] = place
                space.row[place] = row
                space.count[expert] += 1
            }
        }
    }

    /// The experts of one row and their weights. Equal scores go to the lower number.
    private func choose(_ row: Int, _ plan: ExpertPlan, _ correction: [Float], _ space: ExpertSpace) {
        let scores = space.scores[row], ranking = space.ranking[row]
        switch plan.scoring {
        case .softmax:
            var peak = -Float.infinity
            for expert in 0..<plan.count { peak = max(peak, scores[expert]) }
            let sum = kernel_exp_sum(isa, scores, plan.count, peak, scores)
            for expert in 0..<plan.count { scores[expert] /= sum }
            for expert in 0..<plan.count { ranking[expert] = scores[expert] }
        case .correctedSigmoid:
            kernel_sigmoid(isa, scores, plan.count)
            for expert in 0..<plan.count { ranking[expert] = scores[expert] + correction[expert] }
        }
        keepBestGroups(plan, ranking, space.groupScores + row * plan.count)
        let first = row * plan.used
        var total: Float = 0
        for choice in first..<first + plan.used {
            let best = Self.takeBest(ranking, plan.count)
            space.expert[choice] = best
            space.weight[choice] = scores[best]
            total += scores[best]
        }
        for choice in first..<first + plan.used {
            if plan.normalizes { space.weight[choice] /= total + 1e-20 }
            space.weight[choice] *= plan.scale
        }
    }

    /// Puts the experts of all but the best groups out of reach.
    private func keepBestGroups(
        _ plan: ExpertPlan, _ ranking: UnsafeMutablePointer<Float>, _ groups: UnsafeMutablePointer<Float>
    ) {
        guard plan.groupsUsed < plan.groups else { return }
        let size = plan.count / plan.groups
        for group in 0..<plan.groups {
            var best = -Float.infinity, second = -Float.infinity
            for expert in group * size..<(group + 1) * size {
                if ranking[expert] > best {
                    second = best
                    best = ranking[expert]
                } else if ranking[expert] > second {
                    second = ranking[expert]
                }
            }
            groups[group] = plan.scoring == .correctedSigmoid && size > 1 ? best + second : best
        }
        for _ in 0..<plan.groupsUsed { _ = Self.takeBest(groups, plan.groups) }
        for group in 0..<plan.groups where groups[group] != -.infinity {
            for expert in group * size..<(group + 1) * size { ranking[expert] = -.infinity }
        }
    }

    /// The index of the greatest, which is then put out of reach. Where nothing compares (a score that is not a number),
    /// the first that is left.
    private static func takeBest(_ values: UnsafeMutablePointer<Float>, _ count: Int) -> Int {
        var best = 0
        for index in 1..<max(1, count) where values[index] > values[best] || values[best] == -.infinity { best = index }
        values[best] = -.infinity
        return best
    }

    /// Every expert over the rows that chose it.
    private func multiplyExperts(_ weights: ExpertWeights, _ space: ExpertSpace, layer: Int) {
        let plan = weights.plan, stream = self.space
        let gated = stream.gated(width: plan.width)
        let gatedRows = Rows(values: gated.values, stride: gated.stride)
        pool.run(count: width) { slice in
            let (from, to) = part(plan.count, slice)
            for expert in from..<to where space.count[expert] > 0 {
                let unit = weights.experts[expert], places = places(expert, space)
                for place in places {
                    (space.input.values + place * space.input.stride).update(
                        from: stream.normed.values + space.row[place] * stream.normed.stride, count: config.hidden)
                }
                if model.precision.isQuantized {
                    quantize(space.input, from: places.lowerBound, to: places.upperBound)
                }
                let gate = Product(linear: unit.gate, output: gatedRows, lane: 0)
                let up = Product(linear: unit.up, output: stream.up, lane: 1)
                forRuns(places, space) { run in
                    multiplyDown(gate, space.input, layer: layer, run)
                    multiplyDown(up, space.input, layer: layer, run)
                }
            }
        }
        pool.run(count: width) { slice in
            for expert in 0..<plan.count where space.count[expert] > 0 {
                let unit = weights.experts[expert], places = places(expert, space)
                multiplyPlaces(
                    Product(linear: unit.gate, output: gatedRows, lane: 0), space.input, places, slice, space, layer)
                multiplyPlaces(
                    Product(linear: unit.up, output: stream.up, lane: 1), space.input, places, slice, space, layer)
            }
        }
        pool.run(count: width) { slice in
            let (from, to) = part(plan.count, slice)
            for expert in from..<to where space.count[expert] > 0 {
                let places = places(expert, space)
                for place in places { activate(gatedRows[place], stream.up[place], plan.width) }
                if model.precision.isQuantized { quantize(gated, from: places.lowerBound, to: places.upperBound) }
                let product = Product(linear: weights.experts[expert].down, output: space.output, lane: 0)
                forRuns(places, space) { multiplyDown(product, gated, layer: layer, $0) }
            }
        }
        pool.run(count: width) { slice in
            for expert in 0..<plan.count where space.count[expert] > 0 {
                multiplyPlaces(
                    Product(linear: weights.experts[expert].down, output: space.output, lane: 0), gated,
                    places(expert, space), slice, space, layer)
            }
        }
    }

    private func places(_ expert: Int, _ space: ExpertSpace) -> Range<Int> {
        space.first[expert]..<space.first[expert] + space.count[expert]
    }

    /// A slice's tiles of one expert's matrix, LoRA included.
    private func multiplyPlaces(
        _ product: Product, _ input: Activations, _ places: Range<Int>, _ slice: Int, _ space: ExpertSpace, _ layer: Int
    ) {
        let matrix = product.linear.matrix
        let (from, to) = part(matrix.tiles, slice)
        guard from < to else { return }
        let first = places.lowerBound
        matrix.multiply(
            isa: isa, from: from, to: to, input: input.from(first), output: product.output[first],
            stride: product.output.stride, tokens: places.count)
        forRuns(places, space) { multiplyUp(product, layer: layer, tiles: from..<to, $0) }
    }

    /// Consecutive places of one sequence.
    private func forRuns(_ places: Range<Int>, _ space: ExpertSpace, _ body: (AdapterRun) -> Void) {
        var first = places.lowerBound
        while first < places.upperBound {
            let segment = self.space.rowSegment[space.row[first]]
            var end = first + 1
            while end < places.upperBound, self.space.rowSegment[space.row[end]] == segment { end += 1 }
            body(AdapterRun(row: first, count: end - first, adapter: segments[segment].adapter))
            first = end
        }
    }
}
