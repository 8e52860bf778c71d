// The linear layers of a model: what LoadedModel packs, what the transformer multiplies and what an adapter may change.

/// What a linear layer is for.
package enum Projection: Hashable, Sendable {
    case query, key, value, output
    /// The query through its own bottleneck; the hidden state to latent and rotated key (latent attention).
    case queryDown, queryUp, latentDown
    /// One head's W_UK transposed, from its plain query channels to the latent; one head's W_UV, from the latent.
    case headKey(Int), headValue(Int)
    case gate, up, down
    case router
    case sharedGate, sharedUp, sharedDown
    case expertGate(Int), expertUp(Int), expertDown(Int)
}

package struct LinearShape: Hashable, Sendable {
    package let projection: Projection
    package let rows: Int
    package let columns: Int
    package var hasBias = false
    /// Experts of its layer, where it is one's.
    var experts: Int?
    var latent: LatentPlan?

    /// What runs once a head or decides which experts run stays exact at every precision: it is small.
    var staysExact: Bool {
        switch projection {
        case .router, .headKey, .headValue: true
        default: false
        }
    }
}

extension ModelConfig {
    /// Those of a layer; the position in this list is the slot of an adapter's update.
    package func linears(_ layer: Int) -> [LinearShape] {
        attentionLinears + feedForwardLinears(plans[layer].feedForward)
    }

    private var attentionLinears: [LinearShape] {
        let input = attention.inputBias, output = attention.outputBias
        switch attention.kind {
        case .grouped(let keyValueHeads, let dimension):
            let queries = heads * dimension, keys = keyValueHeads * dimension
            return [
                LinearShape(projection: .query, rows: queries, columns: hidden, hasBias: input),
                LinearShape(projection: .key, rows: keys, columns: hidden, hasBias: input),
                LinearShape(projection: .value, rows: keys, columns: hidden, hasBias: input),
                LinearShape(projection: .output, rows: hidden, columns: queries, hasBias: output),
            ]
        case .latent(let plan):
            let queries = heads * (plan.plain + plan.rotated)
            var linears: [LinearShape] = []
            if let rank = plan.queryRank {
                linears = [
                    LinearShape(projection: .queryDown, rows: rank, columns: hidden, hasBias: input),
                    LinearShape(projection: .queryUp, rows: queries, columns: rank),
                ]
            } else {
                linears = [LinearShape(projection: .query, rows: queries, columns: hidden)]
            }
            linears += [
                LinearShape(
                    projection: .latentDown, rows: plan.rank + plan.rotated, columns: hidden, hasBias: input),
                LinearShape(projection: .output, rows: hidden, columns: heads * plan.value, hasBias: output),
            ]
            for head in 0..<heads {
                linears.append(
                    LinearShape(projection: .headKey(head), rows: plan.rank, columns: plan.plain, latent: plan))
            }
            for head in 0..<heads {
                linears.append(
                    LinearShape(projection: .headValue(head), rows: plan.value, columns: plan.rank, latent: plan))
            }
            return linears
        }
    }

    private func feedForwardLinears(_ plan: FeedForwardPlan) -> [LinearShape] {
        switch plan {
        case .dense(let width, let bias):
            return [
                LinearShape(projection: .gate, rows: width, columns: hidden, hasBias: bias),
                LinearShape(projection: .up, rows: width, columns: hidden, hasBias: bias),
                LinearShape(projection: .down, rows: hidden, columns: width, hasBias: bias),
            ]
        case .experts(let plan):
            var linears = [LinearShape(projection: .router, rows: plan.count, columns: hidden)]
            if plan.sharedWidth > 0 {
                linears += [
                    LinearShape(projection: .sharedGate, rows: plan.sharedWidth, columns: hidden),
                    LinearShape(projection: .sharedUp, rows: plan.sharedWidth, columns: hidden),
                    LinearShape(projection: .sharedDown, rows: hidden, columns: plan.sharedWidth),
                ]
            }
            for expert in 0..<plan.count {
                linears += [
                    LinearShape(
                        projection: .expertGate(expert), rows: plan.width, columns: hidden, experts: plan.count),
                    LinearShape(projection: .expertUp(expert), rows: plan.width, columns: hidden, experts: plan.count),
                    LinearShape(
                        projection: .expertDown(expert), rows: hidden, columns: plan.width, experts: plan.count),
                ]
            }
            return linears
        }
    }
}
