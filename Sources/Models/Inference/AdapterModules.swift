// PEFT's modules and the linear layers that each changes: one for most, several where Hugging Face keeps as one matrix
// what this engine keeps apart (GLM's gate_up_proj, ChatGLM's query_key_value, DeepSeek's kv_b_proj and stacked experts).
//
//     y += scale B (A x):   a part's A is its expert's rows of A, its B the part's rows of B.
//     transposed part:      x += scale A^T (B^T y), for keys that are absorbed into the query.

package import ModelFiles

package struct AdapterModule: Hashable, Sendable {
    /// The path that rank and alpha patterns match.
    package let module: String
    /// Full names of lora_A's and lora_B's tensors.
    package let downName: String
    package let upName: String
    /// Shape of the whole module's weight: A has `columns`, B has `rows`.
    package let rows: Int
    package let columns: Int
    /// Experts that the module stacks, 1 for a plain one: A is [experts * rank, columns], B [rows, rank * experts], whose
    /// column of rank r and expert e is r * experts + e.
    package let experts: Int
    package let parts: [Part]

    package struct Part: Hashable, Sendable {
        /// Position in `ModelConfig.linears(layer)`.
        package let slot: Int
        package let expert: Int
        /// Its rows of B.
        package let firstRow: Int
        package let rows: Int
        package let transposed: Bool
    }

    fileprivate init(
        _ module: String, name: String, rows: Int, columns: Int, experts: Int = 1, parts: [Part]
    ) {
        self.module = module
        downName = "base_model.model.\(name).lora_A.weight"
        upName = "base_model.model.\(name).lora_B.weight"
        self.rows = rows
        self.columns = columns
        self.experts = experts
        self.parts = parts
    }

    /// The two factors of a part, from the whole module's: `down` [rank, in] and `up` [out, rank].
    package func factors(
        _ part: Part, down: RowReader, up: RowReader
    ) -> (down: GatheredMatrix, up: GatheredMatrix) {
        let rank = down.rows / experts, first = part.expert * rank, stacked = experts, expert = part.expert
        let firstRow = part.firstRow
        if part.transposed {
            return (
                GatheredMatrix(up, rows: rank, columns: part.rows) { (firstRow + $1, $0 * stacked + expert) },
                GatheredMatrix(down, rows: columns, columns: rank) { (first + $1, $0) }
            )
        }
        return (
            GatheredMatrix(down, rows: rank, columns: columns) { (first + $0, $1) },
            GatheredMatrix(up, rows: part.rows, columns: rank) { (firstRow + $0, $1 * stacked + expert) }
        )
    }
}

extension ModelConfig {
    /// Every module of a layer that an adapter may change. Two may bear the same tensor names; the shapes tell them apart.
    package func adapterModules(_ layer: Int) -> [AdapterModule] {
        var order: [String] = []
        var found: [String: (rows: Int, columns: Int, parts: [AdapterModule.Part])] = [:]
        let linears = linears(layer)
        for (slot, linear) in linears.enumerated() where linear.projection != .router {
            for place in peftPlaces(of: linear, layer: layer) {
                if found[place.module] == nil {
                    order.append(place.module)
                    found[place.module] = (place.totalRows, place.transposed ? linear.rows : linear.columns, [])
                }
                found[place.module]?.parts.append(
                    AdapterModule.Part(
                        slot: slot, expert: 0, firstRow: place.firstRow,
                        rows: place.transposed ? linear.columns : linear.rows, transposed: place.transposed))
            }
        }
        var modules = order.compactMap { name in
            found[name].map { AdapterModule(name, name: name, rows: $0.rows, columns: $0.columns, parts: $0.parts) }
        }
        if case .experts(let plan) = plans[layer].feedForward {
            modules += stackedModules(plan, linears, prefix: "model.layers.\(layer).mlp.experts")
        }
        return modules
    }

    /// PEFT's `target_parameters` on experts that transformers 5 stacks: gate_up_proj [experts, 2 width, hidden] and
    /// down_proj [experts, hidden, width]. The one wrapped first is named base_layer where there are both.
    private func stackedModules(
        _ plan: ExpertPlan, _ linears: [LinearShape], prefix: String
    ) -> [AdapterModule] {
        var gateAndUp: [AdapterModule.Part] = [], down: [AdapterModule.Part] = []
        for (slot, linear) in linears.enumerated() {
            func part(_ expert: Int, _ firstRow: Int) -> AdapterModule.Part {
                AdapterModule.Part(
                    slot: slot, expert: expert, firstRow: firstRow, rows: linear.rows, transposed: false)
            }
            switch linear.projection {
            case .expertGate(let expert): gateAndUp.append(part(expert, 0))
            case .expertUp(let expert): gateAndUp.append(part(expert, linear.rows))
            case .expertDown(let expert): down.append(part(expert, 0))
            default: break
            }
        }
        return [prefix + ".base_layer", prefix].flatMap { name in
            [
                AdapterModule(
                    prefix + ".gate_up_proj", name: name, rows: 2 * plan.width, columns: hidden, experts: plan.count,
                    parts: gateAndUp),
                AdapterModule(
                    prefix + ".down_proj", name: name, rows: hidden, columns: plan.width, experts: plan.count,
                    parts: down),
            ]
        }
    }
}
