import js from '@eslint/js';
import reactHooks from 'eslint-plugin-react-hooks';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig(
  globalIgnores(['build/', 'coverage/', 'lib/', 'node_modules/']),
  js.configs.recommended,
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['src/**/*.{ts,tsx}'],
    extends: [tseslint.configs.recommendedTypeChecked],
    plugins: { 'react-hooks': reactHooks },
    languageOptions: {
      parserOptions: { project: './tsconfig.lint.json', tsconfigRootDir: import.meta.dirname }
    },
    rules: {
      // The others of that plugin are for its compiler, and mutable models as JupyterLab has them are not.
      'react-hooks/rules-of-hooks': 'error',
      'react-hooks/exhaustive-deps': 'error',
      eqeqeq: ['error', 'always'],
      'prefer-arrow-callback': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/naming-convention': [
        'error',
        // As JupyterLab's own code has it.
        { selector: 'interface', format: ['PascalCase'], custom: { regex: '^I[A-Z]', match: true } }
      ],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true }
      ],
      // JupyterLab declares tokens and their interfaces by one name.
      '@typescript-eslint/no-redeclare': 'off',
      // A slot is connected as a method and its object, apart.
      '@typescript-eslint/unbound-method': 'off',
      // A handler of an event may be asynchronous.
      '@typescript-eslint/no-misused-promises': [
        'error',
        { checksVoidReturn: { attributes: false, arguments: false } }
      ]
    }
  },
  {
    files: ['src/**/*.spec.{ts,tsx}', 'src/testing/*.ts'],
    rules: {
      // Doubles are made of parts.
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/require-await': 'off'
    }
  },
  {
    files: ['*.{js,mjs}', 'scripts/*.mjs', 'style/*.js'],
    languageOptions: {
      globals: Object.fromEntries(
        [
          ...['console', 'globalThis', 'module', 'process', 'require'],
          ...['Element', 'MouseEvent', 'navigator', 'fetch', 'Headers', 'Request', 'Response'],
          ...['clearTimeout', 'setTimeout']
        ].map(name => [name, 'readonly'])
      )
    }
  }
);
