// Every kernel gives the same bits on every instruction set of this machine, and the right values.

@testable import Arithmetic
import Kernels
import Foundation
import Testing

@testable import Inference

@Suite struct KernelTests {
    /// Runs a kernel on each instruction set and compares bits with the scalar one.
    private func same(_ name: String, _ body: (Int32) -> [Float]) {
        let reference = body(InstructionSet.scalar.code).map(\.bitPattern)
        for set in InstructionSet.available.dropFirst() {
            #expect(body(set.code).map(\.bitPattern) == reference, "\(name) on \(set.name)")
        }
    }

    @Test(arguments: [(1, 16, 1), (5, 33, 3), (9, 64, 4), (7, 100, 6), (4, 31, 17)])
    func floatProducts(tiles: Int, columns: Int, tokens: Int) {
        var noise = Noise(UInt64(tiles * 1000 + columns))
        let w = noise.array(tiles * columns * 16), x = noise.array(tokens * columns), scales = noise.array(tiles * 16)
        func multiply(_ isa: Int32, scaled: Bool) -> [Float] {
            var y = [Float](repeating: 0, count: tokens * tiles * 16)
            w.withUnsafeBufferPointer { w in
                x.withUnsafeBufferPointer { x in
                    y.withUnsafeMutableBufferPointer { y in
                        scales.withUnsafeBufferPointer { scales in
                            var product = kernel_product(
                                tiles: w.baseAddress, tile_begin: 0, tile_end: tiles, columns: columns,
                                x: x.baseAddress, x_stride: columns, tokens: tokens, scales: nil, y: y.baseAddress,
                                y_stride: tiles * 16, kind: Int32(KERNEL_F32), add: 0)
                            kernel_products(isa, &product, 1)
                            guard scaled else { return }
                            product.scales = scales.baseAddress
                            product.add = 1
                            kernel_products(isa, &product, 1)
                        }
                    }
                }
            }
            return y
        }
        same("products") { multiply($0, scaled: true) }
        let plain = multiply(InstructionSet.best.code, scaled: false)
        let scaled = multiply(InstructionSet.best.code, scaled: true)
        for token in 0..<tokens {
            for row in 0..<tiles * 16 {
                let exact = (0..<columns).reduce(0.0) {
                    $0 + Double(w[(row / 16 * columns + $1) * 16 + row % 16]) * Double(x[token * columns + $1])
                }
                #expect(abs(exact - Double(plain[token * tiles * 16 + row])) < 1e-4)
                #expect(abs(exact * (1 + Double(scales[row])) - Double(scaled[token * tiles * 16 + row])) < 2e-4)
            }
        }
    }

    /// int8 blocks of `x` and the product with packed weights, on one instruction set.
    private func blocksProduct(
        _ isa: Int32, int4: Bool, _ quants: [UInt8], _ scales: [UInt16], tiles: Int, blocks: Int, _ x: [Float],
        tokens: Int
    ) -> [Float] {
        var activations = [UInt8](
            repeating: 0, count: (tokens + 15) / 16 * blocks * Int(KERNEL_ACTIVATION_BLOCK_BYTES))
        kernel_quantize(isa, x, blocks * 32, 0, tokens, blocks, &activations)
        var y = [Float](repeating: 0, count: tokens * tiles * 16)
        if int4 {
            kernel_matmul_i4(isa, quants, scales, 0, tiles, blocks, activations, tokens, &y, tiles * 16)
        } else {
            kernel_matmul_i8(isa, quants, scales, 0, tiles, blocks, activations, tokens, &y, tiles * 16)
        }
        return y
    }

    @Test(
        arguments: [(1, 32, 1), (5, 64, 4), (6, 70, 9), (9, 257, 3), (6, 300, 21)], [false, true])
    func integerProducts(shape: (tiles: Int, columns: Int, tokens: Int), int4: Bool) {
        let (tiles, columns, tokens) = shape
        var noise = Noise(UInt64(tiles * 77 + columns))
        let blocks = (columns + 31) / 32
        var quants = [UInt8](repeating: int4 ? 0x88 : 0x80, count: tiles * blocks * (int4 ? 256 : 512))
        var scales = [UInt16](repeating: 0, count: tiles * blocks * 16)
        var rows: [[Float]] = []
        for row in 0..<tiles * 16 - 3 {
            rows.append(noise.array(columns, scale: row == 0 ? 3e-6 : 0.3))
            #expect(
                (int4 ? kernel_pack_i4 : kernel_pack_i8)(rows[row], row, columns, &quants, &scales) == 1)
        }
        var x = [Float](repeating: 0, count: tokens * blocks * 32)
        for token in 0..<tokens {
            for column in 0..<columns { x[token * blocks * 32 + column] = noise.next() * (column < 32 ? 1e-3 : 5) }
        }
        // Half a step of the weights times the activations, all errors of one sign: never reached, and far from
        // nonsense.
        let allowed = (int4 ? 0.12 : 0.02) * Double(columns)
        same(int4 ? "int4" : "int8") { isa in
            let y = blocksProduct(
                isa, int4: int4, quants, scales, tiles: tiles, blocks: blocks, x, tokens: tokens)
            for token in 0..<tokens {
                for (row, weights) in rows.enumerated() {
                    let exact = (0..<columns).reduce(0.0) {
                        $0 + Double(weights[$1]) * Double(x[token * blocks * 32 + $1])
                    }
                    #expect(abs(exact - Double(y[token * tiles * 16 + row])) < allowed)
                }
            }
            return y
        }
    }

    /// Extremes that a saturating multiply would get wrong.
    @Test func integerExtremes() {
        var quants = [UInt8](repeating: 128, count: 512), scales = [UInt16](repeating: 0, count: 16)
        for row in 0..<16 {
            let sign: Float = row.isMultiple(of: 2) ? 1 : -1
            #expect(kernel_pack_i8([Float](repeating: sign, count: 32), row, 32, &quants, &scales) == 1)
        }
        same("extremes") { isa in
            let y = blocksProduct(
                isa, int4: false, quants, scales, tiles: 1, blocks: 1, [Float](repeating: -1, count: 32), tokens: 1)
            #expect(abs(y[0] + 32) < 0.02 && abs(y[1] - 32) < 0.02)
            return y
        }
    }

    @Test func notANumberStaysInItsToken() {
        var x = [Float](repeating: 0.5, count: 64)
        x[3] = .nan
        var quants = [UInt8](repeating: 128, count: 512), scales = [UInt16](repeating: 0, count: 16)
        for row in 0..<16 { _ = kernel_pack_i8([Float](repeating: 1, count: 32), row, 32, &quants, &scales) }
        for set in InstructionSet.available {
            let y = blocksProduct(set.code, int4: false, quants, scales, tiles: 1, blocks: 1, x, tokens: 2)
            #expect(y[0].isNaN && y[16].isFinite)
        }
    }

    /// GGUF's blocks are moved: what they stand for stays exactly what it was.
    @Test func storedBlocksAreLossless() {
        // Scale 0.5, quants of every value; row 3 of a tile.
        var q8: [UInt8] = [0x00, 0x38], q4: [UInt8] = [0x00, 0xb8]
        for index in 0..<32 { q8.append(UInt8(bitPattern: Int8(index * 8 - 128))) }
        for index in 0..<16 { q4.append(UInt8(index | (15 - index) << 4)) }
        var quants8 = [UInt8](repeating: 0x80, count: 512), quants4 = [UInt8](repeating: 0x88, count: 256)
        var scales8 = [UInt16](repeating: 0, count: 16), scales4 = scales8
        #expect(kernel_pack_q8_0(q8, 3, 1, &quants8, &scales8) == 1)
        #expect(kernel_pack_q4_0(q4, 3, 1, &quants4, &scales4) == 1)
        for column in 0..<32 {
            var x = [Float](repeating: 0, count: 32)
            x[column] = 127
            let eight = blocksProduct(
                InstructionSet.best.code, int4: false, quants8, scales8, tiles: 1, blocks: 1, x, tokens: 1)
            let four = blocksProduct(
                InstructionSet.best.code, int4: true, quants4, scales4, tiles: 1, blocks: 1, x, tokens: 1)
            #expect(eight[3] == Float(column * 8 - 128) * 0.5 * 127)
            #expect(four[3] == Float((column < 16 ? column : 31 - column) - 8) * -0.5 * 127)
            #expect(eight[2] == 0 && four[2] == 0)
        }
        #expect(kernel_pack_q8_0([0x00, 0x7c] + [UInt8](repeating: 0, count: 32), 0, 1, &quants8, &scales8) == 0)
    }

    @Test(arguments: [1, 15, 16, 64, 100, 257])
    func vectors(count: Int) {
        var noise = Noise(UInt64(count))
        let x = noise.array(count, scale: 20), w = noise.array(count), up = noise.array(count)
        same("rmsnorm") { isa in
            var out = [Float](repeating: 0, count: count)
            kernel_rmsnorm(isa, x, count, w, 1e-5, &out)
            return out
        }
        same("silu_multiply") { isa in
            var gate = x
            kernel_silu_multiply(isa, &gate, up, count)
            return gate
        }
        same("exp_sum") { isa in
            var out = [Float](repeating: 0, count: count)
            let sum = kernel_exp_sum(isa, x, count, 3, &out)
            return out + [sum]
        }
        for interleaved in [Int32(0), 1] {
            same("rotate") { isa in
                var heads = x + x
                let half = count / 2
                kernel_rotate(isa, &heads, 2, count, half, interleaved, Array(w.prefix(half)), Array(up.prefix(half)))
                return heads
            }
        }
        same("layernorm") { isa in
            var out = [Float](repeating: 0, count: count)
            kernel_layernorm(isa, x, count, w, up, 1e-5, &out)
            return out
        }
        same("activations") { isa in
            var gate = x, error = x, cap = x, sigmoid = x, scaled = x
            kernel_gelu_tanh_multiply(isa, &gate, up, count)
            kernel_gelu_erf(isa, &error, count)
            kernel_soft_cap(isa, &cap, count, 5)
            kernel_sigmoid(isa, &sigmoid, count)
            kernel_add_scaled(isa, &scaled, w, count, 0.3)
            kernel_scale(isa, &scaled, count, 1.7)
            for (index, value) in x.enumerated() {
                let value = Double(value)
                let u = 0.7978845608028654 * (value + 0.044715 * value * value * value)
                let tanhGelu = value / (1 + exactExp(-2 * u)) * Double(up[index])
                #expect(abs(Double(gate[index]) - tanhGelu) < 1e-5 * max(1, abs(tanhGelu)))
                #expect(abs(Double(error[index]) - value * (1 + erf(value / 2.0.squareRoot())) / 2) < 4e-6)
                #expect(abs(Double(cap[index]) - 5 * tanh(value / 5)) < 2e-6)
                #expect(abs(Double(sigmoid[index]) - 1 / (1 + exactExp(-value))) < 1e-6)
            }
            return gate + error + cap + sigmoid + scaled
        }
    }

    @Test func exponential() {
        let x = stride(from: Float(-90), through: 89, by: 0.05).map { $0 }
        var out = [Float](repeating: 0, count: x.count)
        _ = kernel_exp_sum(InstructionSet.best.code, x, x.count, 0, &out)
        for (value, result) in zip(x, out) {
            let exact = value < -87.3 ? 0 : exactExp(Double(min(value, 88)))
            #expect(abs(Double(result) - exact) <= 2e-7 * exact)
        }
    }

    private func exactExp(_ x: Double) -> Double { DoubleMath.pow(2.718281828459045, x) }

    @Test(arguments: [(16, 16, 1, 0, 0, 0), (32, 20, 2, 0, 40, 2), (8, 8, 3, 5, 33, 0), (24, 40, 4, 17, 95, 0.5),
        (63, 63, 1, 0, 15, 0)] as [(Int, Int, Int, Int, Int, Float)])
    func attention(dimension: Int, width: Int, group: Int, first: Int, last: Int, cap: Float) {
        var noise = Noise(UInt64(dimension + last))
        let valueStride = (width + 15) / 16 * 16, floats = dimension * 16 + 16 * valueStride
        let count = last / 16 + 1
        let memory = UnsafeMutablePointer<Float>.allocate(capacity: count * floats)
        defer { memory.deallocate() }
        // What lies in positions that nobody may read must not matter, whatever it is.
        memory.initialize(repeating: .nan, count: count * floats)
        let pages: [UnsafeRawPointer?] = (0..<count).map { UnsafeRawPointer(memory + $0 * floats) }
        var keys: [[Float]] = [], values: [[Float]] = []
        for position in 0...last {
            keys.append(noise.array(dimension))
            values.append(noise.array(width))
            let page = memory + position / 16 * floats
            kernel_store_kv(
                page, page + dimension * 16, position % 16, dimension, width, 0, keys[position], values[position])
        }
        let q = noise.array(group * dimension, scale: 3)
        same("attention") { isa in
            var out = [Float](repeating: 0, count: group * width)
            q.withUnsafeBufferPointer { q in
                out.withUnsafeMutableBufferPointer { out in
                    pages.withUnsafeBufferPointer { pages in
                        var job = kernel_attention_job(
                            q: q.baseAddress, q_token_stride: 0, q_head_stride: dimension, tokens: 1, group: group,
                            key_dim: dimension, value_dim: width, position: last, window: last - first + 1,
                            scale: 0.25, soft_cap: cap, pages: pages.baseAddress, key_offset: 0,
                            value_offset: dimension * 64, is_int8: 0, out: out.baseAddress, out_token_stride: 0,
                            out_head_stride: width)
                        kernel_attend(isa, &job)
                    }
                }
            }
            for head in 0..<group {
                let weights = (first...last).map { position in
                    let score =
                        (0..<dimension).reduce(0.0) {
                            $0 + Double(q[head * dimension + $1]) * Double(keys[position][$1])
                        } * 0.25
                    return exactExp(cap > 0 ? Double(cap) * tanh(score / Double(cap)) : score)
                }
                let total = weights.reduce(0, +)
                for channel in 0..<width {
                    let exact =
                        zip(first...last, weights).reduce(0.0) { $0 + $1.1 * Double(values[$1.0][channel]) } / total
                    #expect(abs(exact - Double(out[head * width + channel])) < 1e-5)
                }
            }
            return out
        }
    }

    @Test func halves() {
        // Every finite half survives the way through an int8 scale that is exactly it times 127.
        for code in stride(from: UInt16(1), to: 0x7bff, by: 61) {
            var value: Float = 0
            withUnsafeBytes(of: code) { kernel_from_f16($0.baseAddress, 1, &value) }
            #expect(value == Float(Float16(bitPattern: code)))
            let row = [Float](repeating: 0, count: 31) + [value * 127]
            var quants = [UInt8](repeating: 128, count: 512), scales = [UInt16](repeating: 0, count: 16)
            guard value < 500 else { continue }
            #expect(kernel_pack_i8(row, 0, 32, &quants, &scales) == 1)
            #expect(scales[0] == Float16(value * 127 / 127).bitPattern)
        }
    }

    @Test func doubleFunctions() {
        #expect(abs(DoubleMath.log(2) - 0.6931471805599453) < 1e-15)
        #expect(abs(DoubleMath.pow(10000, 0.25) - 10) < 1e-13)
        #expect(abs(DoubleMath.pow(500000, 0.5) - 707.1067811865476) < 1e-10)
        for step in 0..<2000 {
            let angle = Double(step) * 4.37
            var sine = 0.0, cosine = 0.0
            kernel_sincos(angle, &sine, &cosine)
            #expect(abs(sine * sine + cosine * cosine - 1) < 1e-14)
            var doubled = 0.0, other = 0.0
            kernel_sincos(2 * angle, &doubled, &other)
            #expect(abs(doubled - 2 * sine * cosine) < 1e-12)
        }
        var sine = 0.0, cosine = 0.0
        kernel_sincos(1, &sine, &cosine)
        #expect(abs(sine - 0.8414709848078965) < 1e-15 && abs(cosine - 0.5403023058681398) < 1e-15)
    }

    /// The canary: the comparison above must notice one flipped bit.
    @Test func canary() {
        withKnownIssue {
            let flipped = Float(bitPattern: Float(1).bitPattern ^ 1)
            var calls = 0
            same("canary") { _ in
                calls += 1
                return [calls == 1 ? 1 : flipped]
            }
            if InstructionSet.available.count == 1 { Issue.record("only one instruction set here") }
        }
    }
}
