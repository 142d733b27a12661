// DSP48E2, for simulation only: the settings that hwroute.rtl.dsp48e2 uses and no others.
//
//   AD = D + A or D - A (INMODE[3]), 27 bits, registered      B registered
//   M  = AD * B, registered                                   C registered
//   P  = M + (0, PCIN or C), by OPMODE, 48 bits, registered
//
// Anything else stops the simulation, so that a bench can not pass on a setting that only the real
// primitive understands. Synthesis takes the vendor's primitive of this name instead.
module DSP48E2 #(
    parameter AMULTSEL = "A",
    parameter A_INPUT = "DIRECT",
    parameter BMULTSEL = "B",
    parameter B_INPUT = "DIRECT",
    parameter PREADDINSEL = "A",
    parameter USE_MULT = "MULTIPLY",
    parameter USE_SIMD = "ONE48",
    parameter integer ACASCREG = 1,
    parameter integer ADREG = 1,
    parameter integer ALUMODEREG = 1,
    parameter integer AREG = 1,
    parameter integer BCASCREG = 1,
    parameter integer BREG = 1,
    parameter integer CARRYINREG = 1,
    parameter integer CARRYINSELREG = 1,
    parameter integer CREG = 1,
    parameter integer DREG = 1,
    parameter integer INMODEREG = 1,
    parameter integer MREG = 1,
    parameter integer OPMODEREG = 1,
    parameter integer PREG = 1
) (
    input wire CLK,
    input wire [29:0] A,
    input wire [29:0] ACIN,
    input wire [3:0] ALUMODE,
    input wire [17:0] B,
    input wire [17:0] BCIN,
    input wire [47:0] C,
    input wire CARRYCASCIN,
    input wire CARRYIN,
    input wire [2:0] CARRYINSEL,
    input wire CEA1,
    input wire CEA2,
    input wire CEAD,
    input wire CEALUMODE,
    input wire CEB1,
    input wire CEB2,
    input wire CEC,
    input wire CECARRYIN,
    input wire CECTRL,
    input wire CED,
    input wire CEINMODE,
    input wire CEM,
    input wire CEP,
    input wire [26:0] D,
    input wire [4:0] INMODE,
    input wire MULTSIGNIN,
    input wire [8:0] OPMODE,
    input wire [47:0] PCIN,
    input wire RSTA,
    input wire RSTALLCARRYIN,
    input wire RSTALUMODE,
    input wire RSTB,
    input wire RSTC,
    input wire RSTCTRL,
    input wire RSTD,
    input wire RSTINMODE,
    input wire RSTM,
    input wire RSTP,
    output wire [47:0] P,
    output wire [47:0] PCOUT
);
    localparam NONE = 3'b000, CASCADE = 3'b001, FROM_C = 3'b011;

    initial begin
        if (AMULTSEL != "AD" || BMULTSEL != "B" || PREADDINSEL != "A" || A_INPUT != "DIRECT"
            || B_INPUT != "DIRECT" || USE_MULT != "MULTIPLY" || USE_SIMD != "ONE48")
            $fatal(1, "DSP48E2 model: data path attribute is not modelled");
        if (AREG != 0 || ACASCREG != 0 || DREG != 0 || ADREG != 1 || BREG != 1 || BCASCREG != 1
            || CREG != 1 || MREG != 1 || PREG != 1)
            $fatal(1, "DSP48E2 model: data register attribute is not modelled");
        if (INMODEREG != 0 || OPMODEREG != 0 || ALUMODEREG != 0 || CARRYINREG != 0
            || CARRYINSELREG != 0)
            $fatal(1, "DSP48E2 model: control register attribute is not modelled");
    end

    wire enabled = CEAD && CEB2 && CEC && CEM && CEP;
    wire reset = RSTB || RSTC || RSTD || RSTM || RSTP || RSTA;
    wire carry = CARRYIN || CARRYCASCIN || MULTSIGNIN || CARRYINSEL != 3'b000;
    wire [2:0] z = OPMODE[6:4];

    reg signed [26:0] ad;
    reg signed [17:0] b;
    reg signed [44:0] product;
    reg [47:0] addend;
    reg [47:0] sum;

    always @(posedge CLK) begin
        ad <= INMODE[3] ? D - A[26:0] : D + A[26:0];
        b <= B;
        product <= 45'(ad) * 45'(b);
        addend <= C;
        sum <= 48'(product) + (z == CASCADE ? PCIN : z == FROM_C ? addend : 48'b0);
        if (!enabled || reset || carry)
            $fatal(1, "DSP48E2 model: enables must be 1, resets and carries 0");
        if (INMODE[4] || INMODE[2:0] != 3'b100 || ALUMODE != 4'b0000)
            $fatal(1, "DSP48E2 model: INMODE %b, ALUMODE %b is not modelled", INMODE, ALUMODE);
        if (OPMODE[8:7] != 2'b00 || OPMODE[3:0] != 4'b0101
            || (z != NONE && z != CASCADE && z != FROM_C))
            $fatal(1, "DSP48E2 model: OPMODE %b is not modelled", OPMODE);
    end

    assign P = sum;
    assign PCOUT = sum;
endmodule
